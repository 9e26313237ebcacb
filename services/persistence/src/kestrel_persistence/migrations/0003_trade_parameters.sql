-- What the kernel's second version says of an account and a slot, and what every trade was entered with.

ALTER TABLE account_snapshots
  ADD COLUMN foreign_amount numeric, ADD COLUMN foreign_count bigint,
  ADD COLUMN maker_fee_rate numeric, ADD COLUMN maker_fee_ratio numeric, ADD COLUMN maker_fee_status text,
  ADD COLUMN taker_fee_rate numeric, ADD COLUMN taker_fee_ratio numeric, ADD COLUMN taker_fee_status text;
ALTER TABLE slot_snapshots
  ADD COLUMN conviction numeric, ADD COLUMN exit_leg_bps text;

-- One row an entry order (K23): who proposed and who decided, on what evidence, for what size at what price and leverage,
-- with what exits, at which fee rates, on what capital from where, in which state of the kernel, and what came of it.
CREATE VIEW v_trade_parameters AS
SELECT o.account, o.trade_id, o.client_order_id, i.attempt, o.time_ns AS entered_at_ns, o.trace_id,
       i.proposer, i.strategy, i.signal_id, i.signal_created_at_ns, i.anchor_as_of_ns,
       d.decision_id, d.verdict, d.decided_by, d.decided_by_kind, d.mandate_id, d.reason AS decision_reason, d.decided_at_ns,
       d.notional AS decided_notional, d.intent_sha256, d.evidence_sha256,
       o.venue, o.environment, o.symbol, o.side, o.order_qty, o.order_type, o.price, o.time_in_force, o.leverage,
       o.expires_at_ns, i.reference_price, i.stop_price, i.target_price, s.exit_leg_bps,
       i.instrument_version, o.price_scale, o.qty_scale, o.multiplier,
       a.capital, a.capital_source, a.equity, a.wallet, a.currency, a.ledger_status,
       a.maker_fee_rate, a.maker_fee_ratio, a.taker_fee_rate, a.taker_fee_ratio,
       e.epoch, e.input_sequence, e.state_digest, o.stream, o.sequence,
       t.stage, t.lifecycle, t.entry_qty, t.entry_price, t.exit_price, t.realized_pnl, t.fees
FROM orders o
JOIN journal_entries e ON e.stream = o.stream AND e.sequence = o.sequence
LEFT JOIN LATERAL (
  SELECT * FROM decisions
  WHERE intent_id = o.trade_id AND verdict = 'APPROVED' AND decided_at_ns <= o.time_ns
  ORDER BY decided_at_ns DESC LIMIT 1
) d ON true
LEFT JOIN LATERAL (
  SELECT * FROM intents WHERE intent_id = d.intent_id AND body_sha256 = d.intent_sha256 ORDER BY sequence LIMIT 1
) i ON true
LEFT JOIN account_snapshots a ON a.stream = o.stream AND a.sequence = o.sequence
LEFT JOIN slot_snapshots s ON s.stream = o.stream AND s.sequence = o.sequence AND s.trade_id = o.trade_id
LEFT JOIN v_trades t ON t.account = o.account AND t.trade_id = o.trade_id
WHERE NOT o.is_exit;
