-- The record: every message of every stream, as rows that are only ever added.
--
-- Each row says where it came from: stream, sequence, its place in the message where one message gives several,
-- when the bus stored the message (time_ns, UTC nanoseconds), and the trace it belongs to. That place is the primary
-- key, so a message delivered twice is stored once. Money, prices and quantities are NUMERIC built from integer units:
-- exact, with the scale they came with. `body` is the stored bytes, from which everything else can be computed again.

-- How far each stream has been stored. Moves forward only, in the transaction that stores the rows.
-- The only table that is updated.
CREATE TABLE stream_positions (
  stream        text PRIMARY KEY,
  sequence      bigint NOT NULL,
  chain_length  bigint NOT NULL DEFAULT 0,
  chain_head    bytea  NOT NULL DEFAULT ''::bytea,
  updated_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- INTENTS -------------------------------------------------------------------------------------------------------------

CREATE TABLE intents (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  intent_id text NOT NULL, account text NOT NULL, venue text, environment text, symbol text, instrument_version bigint,
  side text, order_qty numeric, order_type text, price numeric, time_in_force text, stop_price numeric,
  target_price numeric, reference_price numeric, leverage bigint, strategy text, signal_id text,
  signal_created_at_ns bigint, attempt bigint, anchor_as_of_ns bigint, proposer text, created_at_ns bigint,
  expires_at_ns bigint, body_sha256 bytea NOT NULL, body bytea NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);
CREATE INDEX intents_by_id ON intents (intent_id text_pattern_ops);
CREATE INDEX intents_by_trace ON intents (trace_id text_pattern_ops);

-- INBOX ---------------------------------------------------------------------------------------------------------------

CREATE TABLE inbox_messages (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  partition bigint NOT NULL, account text NOT NULL, door text NOT NULL, kind text NOT NULL,
  trade_id text, client_order_id text, execution_id text, report_id text, order_fact text,
  venue_time_ns bigint, received_at_ns bigint, body bytea NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);
CREATE INDEX inbox_messages_by_trade ON inbox_messages (trade_id) WHERE trade_id IS NOT NULL;

-- JOURNAL_<partition> -------------------------------------------------------------------------------------------------

CREATE TABLE journal_entries (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  account text, epoch bigint, input_sequence bigint, input_time_ns bigint, door text, kind text,
  accepted boolean, code text, trade_id text, state_digest bytea, entry_recorded_at_ns bigint,
  previous_hash bytea, entry_hash bytea NOT NULL, body bytea NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);
CREATE INDEX journal_entries_by_input ON journal_entries (stream, input_sequence);

-- One row for each order we decided to send; its identity is the journal's sequence and its place in the entry.
CREATE TABLE orders (
  stream text NOT NULL, sequence bigint NOT NULL, position integer NOT NULL, time_ns bigint NOT NULL, trace_id text,
  client_order_id text NOT NULL, trade_id text NOT NULL, account text NOT NULL, venue text, environment text,
  is_exit boolean NOT NULL, symbol text, side text, order_qty numeric, order_type text, price numeric,
  time_in_force text, leverage bigint, strategy text, expires_at_ns bigint, reason text,
  price_scale integer, qty_scale integer, multiplier bigint,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence, position)
);
CREATE INDEX orders_by_id ON orders (client_order_id text_pattern_ops);
CREATE INDEX orders_by_trade ON orders (trade_id text_pattern_ops);
CREATE INDEX orders_by_trace ON orders (trace_id text_pattern_ops);

CREATE TABLE cancel_requests (
  stream text NOT NULL, sequence bigint NOT NULL, position integer NOT NULL, time_ns bigint NOT NULL, trace_id text,
  client_order_id text NOT NULL, trade_id text, account text NOT NULL, reason text,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence, position)
);

-- What was learned about an order, as the kernel took it: three clocks and the inbox's, kept apart.
CREATE TABLE order_events (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  account text NOT NULL, client_order_id text NOT NULL, venue_order_id text, symbol text, fact text NOT NULL,
  reason text, message text, accepted boolean, venue_time_ns bigint, received_at_ns bigint,
  inbox_sequence bigint, inbox_time_ns bigint,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);
CREATE INDEX order_events_by_order ON order_events (client_order_id);

CREATE TABLE fills (
  stream text NOT NULL, sequence bigint NOT NULL, position integer NOT NULL, time_ns bigint NOT NULL, trace_id text,
  account text NOT NULL, execution_id text NOT NULL, client_order_id text, venue_order_id text, trade_id text,
  symbol text NOT NULL, side text NOT NULL, is_exit boolean NOT NULL, last_qty numeric NOT NULL, last_price numeric,
  fee numeric, fee_is_predicted boolean NOT NULL, realized_pnl numeric, is_busted boolean NOT NULL,
  routed_by_stage boolean NOT NULL, venue_time_ns bigint, received_at_ns bigint,
  inbox_sequence bigint, inbox_time_ns bigint,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence, position)
);
CREATE INDEX fills_by_order ON fills (client_order_id);
CREATE INDEX fills_by_trade ON fills (trade_id);

-- What the venue's later settlement of an execution added.
CREATE TABLE settlements (
  stream text NOT NULL, sequence bigint NOT NULL, position integer NOT NULL, time_ns bigint NOT NULL, trace_id text,
  account text NOT NULL, execution_id text NOT NULL, client_order_id text, trade_id text, is_exit boolean NOT NULL,
  realized_pnl numeric, fee numeric,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence, position)
);
CREATE INDEX settlements_by_trade ON settlements (trade_id);

-- The POSITION beads (T08).
CREATE TABLE transitions (
  stream text NOT NULL, sequence bigint NOT NULL, position integer NOT NULL, time_ns bigint NOT NULL, trace_id text,
  account text NOT NULL, slot_index bigint NOT NULL, trade_id text, from_stage text, to_stage text,
  from_lifecycle text, to_lifecycle text, requested_qty numeric, filled_qty numeric,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence, position)
);
CREATE INDEX transitions_by_trade ON transitions (trade_id);

CREATE TABLE anomalies (
  stream text NOT NULL, sequence bigint NOT NULL, position integer NOT NULL, time_ns bigint NOT NULL, trace_id text,
  account text NOT NULL, code text NOT NULL, severity text, trade_id text, client_order_id text, execution_id text,
  message text,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence, position)
);

CREATE TABLE slot_snapshots (
  stream text NOT NULL, sequence bigint NOT NULL, position integer NOT NULL, time_ns bigint NOT NULL, trace_id text,
  account text NOT NULL, slot_index bigint NOT NULL, stage text, lifecycle text, trade_id text, strategy text,
  symbol text, qty numeric, entry_qty numeric, entry_price numeric, realized_pnl numeric, unrealized_pnl numeric,
  fees numeric, mark numeric, leverage bigint, opened_at_ns bigint, closed_at_ns bigint, is_adopted boolean,
  is_overfilled boolean,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence, position)
);
CREATE INDEX slot_snapshots_by_slot ON slot_snapshots (account, slot_index, sequence);

CREATE TABLE account_snapshots (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  account text NOT NULL, event_sequence bigint, currency text, capital numeric, capital_source text, equity numeric,
  realized_pnl numeric, unrealized_pnl numeric, fees numeric, funding numeric, wallet numeric, available numeric,
  ledger_status text, ledger_delta numeric, entries_frozen boolean, freeze_reason text, open_slot_count bigint,
  max_slots bigint, gross_exposure numeric, working_exposure numeric, ledger_cause text, predicted_fees numeric,
  execution_count bigint,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);
CREATE INDEX account_snapshots_by_account ON account_snapshots (account, sequence);

-- TRUTH ---------------------------------------------------------------------------------------------------------------

CREATE TABLE truths (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  venue text NOT NULL, account text NOT NULL, completeness text, as_of_ns bigint, execution_watermark bigint,
  wallet numeric, available numeric, currency text, position_count bigint, order_count bigint, error text,
  request_id text, body bytea NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);

CREATE TABLE truth_positions (
  stream text NOT NULL, sequence bigint NOT NULL, position integer NOT NULL, time_ns bigint NOT NULL, trace_id text,
  venue text NOT NULL, account text NOT NULL, symbol text NOT NULL, qty numeric, average_price numeric,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence, position)
);

CREATE TABLE truth_orders (
  stream text NOT NULL, sequence bigint NOT NULL, position integer NOT NULL, time_ns bigint NOT NULL, trace_id text,
  venue text NOT NULL, account text NOT NULL, client_order_id text, venue_order_id text, symbol text, side text,
  order_qty numeric, cum_qty numeric,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence, position)
);

-- BEADS ---------------------------------------------------------------------------------------------------------------

-- Chained over the stored bytes: chain_hash covers the chain's place, the stream's place, the time, the subject, the hash
-- of the body and chain_hash of the bead before (core/chain.py).
CREATE TABLE beads (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  chain_sequence bigint NOT NULL UNIQUE, previous_hash bytea NOT NULL, chain_hash bytea NOT NULL,
  subject text NOT NULL, bead_id text, kind text, account text, actor text, actor_kind text, created_at_ns bigint,
  body bytea NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);
CREATE INDEX beads_by_kind ON beads (kind, sequence);
CREATE INDEX beads_by_account ON beads (account, sequence);

CREATE TABLE decisions (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  decision_id text NOT NULL, account text, intent_id text NOT NULL, attempt bigint, verdict text, decided_by text,
  decided_by_kind text, mandate_id text, reason text, strategy text, symbol text, notional numeric,
  intent_sha256 bytea, evidence_sha256 bytea, decided_at_ns bigint,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);
CREATE INDEX decisions_by_intent ON decisions (intent_id);

CREATE TABLE risk_checks (
  stream text NOT NULL, sequence bigint NOT NULL, position integer NOT NULL, time_ns bigint NOT NULL, trace_id text,
  intent_id text NOT NULL, reason text, verdict text, value text, limit_value text, message text,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence, position)
);

CREATE TABLE token_events (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  account text, token_id text NOT NULL, intent_id text, kind text, reason text, message text, client_order_id text,
  evidence_sha256 bytea, expires_at_ns bigint,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);
CREATE INDEX token_events_by_intent ON token_events (intent_id);

CREATE TABLE mandates (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  mandate_id text NOT NULL, strategy text, account text, symbols text, max_order_notional numeric,
  max_total_notional numeric, max_order_count bigint, environment text, not_before_ns bigint, expires_at_ns bigint,
  granted_by text, granted_at_ns bigint, reason text, revoked_by text, revoked_at_ns bigint,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);

CREATE TABLE kill_events (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  scope text, target text, level text, reason text, set_by text, set_at_ns bigint, expires_at_ns bigint,
  rearm_proposed_by text, rearmed_by text, rearmed_at_ns bigint, actor text,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);

-- A break has a row when it opens or escalates (kind drift) and a row when a person ends it (kind resolution).
CREATE TABLE breaks (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  event text NOT NULL, break_id text NOT NULL, account text, venue text, kind text, severity text, symbol text,
  client_order_id text, machine_state text, broker_state text, reason text, message text, opened_at_ns bigint,
  escalated_at_ns bigint, opened_by_run_id text, resolution text, resolved_by text, resolution_notes text,
  resolved_at_ns bigint,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);
CREATE INDEX breaks_by_id ON breaks (break_id);

CREATE TABLE recon_runs (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  run_id text NOT NULL, account text, venue text, trigger text, verdict text, severity text, order_count bigint,
  position_count bigint, matched_count bigint, unmatched_count bigint, suspected_count bigint, snapshot_at_ns bigint,
  started_at_ns bigint, journal_sequence bigint, reasons text, break_ids text,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);
CREATE INDEX recon_runs_by_account ON recon_runs (account, journal_sequence);

-- confidence is a statistic, so it may be a float; it enters no ledger.
CREATE TABLE signals (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  signal_id text NOT NULL, account text, strategy text, symbol text, action text, side text,
  confidence double precision, reference_price numeric, market_time_ns bigint, created_at_ns bigint, reason text,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);
CREATE INDEX signals_by_id ON signals (signal_id);

CREATE TABLE operator_actions (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  account text, operator text, origin text, action text, target text, reason text, granted boolean,
  refusal_reason text, refusal_message text,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);

-- ALERTS, PARKED, MARKET ----------------------------------------------------------------------------------------------

CREATE TABLE alerts (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  alert_id text NOT NULL, severity text, service text, reason text, account text, message text, raised_at_ns bigint,
  subject_id text, body bytea NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);

CREATE TABLE parked_messages (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  parked_id text NOT NULL, service text, parked_stream text, parked_sequence bigint, parked_subject text, reason text,
  field text, rule text, message text, parked_at_ns bigint, delivery_count bigint, body bytea NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);

CREATE TABLE bars (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  venue text NOT NULL, symbol text NOT NULL, start_ns bigint NOT NULL, interval_ns bigint NOT NULL,
  open_price numeric, high_price numeric, low_price numeric, close_price numeric, traded_qty numeric,
  received_at_ns bigint,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);
CREATE INDEX bars_by_symbol ON bars (symbol, start_ns);

-- What could not be read, or what the database refused: still recorded, byte for byte, with the reason.
CREATE TABLE unusable_messages (
  stream text NOT NULL, sequence bigint NOT NULL, time_ns bigint NOT NULL, trace_id text,
  subject text NOT NULL, reason text NOT NULL, message text NOT NULL, body bytea NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, sequence)
);

-- Signed statements of how far a chain had reached. Also in a file outside the database: see core/checkpoint.py.
CREATE TABLE checkpoints (
  chain text NOT NULL, chain_length bigint NOT NULL, chain_head bytea NOT NULL, merkle_root bytea NOT NULL,
  signed_at_ns bigint NOT NULL, key_id text NOT NULL, signature bytea NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (chain, chain_length)
);

-- Append-only: a deterrent, and a guard against our own mistakes. The proof is the chains and their checkpoints.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'APPEND_ONLY: % on table % is refused; the record is only ever added to', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation';
END $$;

DO $$
DECLARE name text;
BEGIN
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema()
              AND tablename NOT IN ('stream_positions', 'schema_versions') LOOP
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', name);
  END LOOP;
END $$;
