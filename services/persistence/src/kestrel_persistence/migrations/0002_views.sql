-- Views for people. Status, quantities left, averages and positions are computed here from facts, never stored.

-- Fills as they count: the quantity that the venue took back is subtracted; its fee and profit come with reversed signs.
CREATE VIEW v_fills AS
SELECT account, execution_id, client_order_id, trade_id, symbol, side, is_exit, is_busted, last_price,
       CASE WHEN is_busted THEN -last_qty ELSE last_qty END AS booked_qty,
       CASE WHEN is_busted = (side = 'BUY') THEN -last_qty ELSE last_qty END AS signed_qty,
       fee, realized_pnl,
       venue_time_ns, received_at_ns, inbox_time_ns, time_ns, trace_id, stream, sequence, position
FROM fills;

-- One row an order. The life is the last word of the venue (or of our gateway); a fill that races a cancel is still
-- counted, and an order whose whole quantity is filled is FILLED whatever else was said.
CREATE VIEW v_orders AS
SELECT o.account, o.trade_id, o.client_order_id, o.is_exit, o.symbol, o.side, o.order_type, o.order_qty, o.price,
       COALESCE(f.cum_qty, 0) AS cum_qty,
       GREATEST(o.order_qty - COALESCE(f.cum_qty, 0), 0) AS leaves_qty,
       f.average_price,
       CASE
         WHEN COALESCE(f.cum_qty, 0) >= o.order_qty THEN 'FILLED'
         WHEN e.rejected THEN 'REJECTED'
         WHEN e.denied THEN 'DENIED'
         WHEN e.canceled THEN 'CANCELED'
         WHEN e.expired THEN 'EXPIRED'
         WHEN COALESCE(f.cum_qty, 0) > 0 THEN 'PARTIALLY_FILLED'
         WHEN e.acknowledged THEN 'OPEN'
         WHEN e.in_doubt THEN 'IN_DOUBT'
         WHEN e.submitting THEN 'SUBMITTING'
         ELSE 'PENDING_NEW'
       END AS status,
       e.reason, o.strategy, o.venue, o.time_ns AS ordered_at_ns,
       GREATEST(o.time_ns, e.last_time_ns, f.last_time_ns) AS last_changed_at_ns,
       o.trace_id, o.stream, o.sequence
FROM orders o
LEFT JOIN LATERAL (
  SELECT sum(booked_qty) AS cum_qty, max(time_ns) AS last_time_ns,
         sum(booked_qty * last_price) / NULLIF(sum(booked_qty) FILTER (WHERE last_price IS NOT NULL), 0) AS average_price
  FROM v_fills b WHERE b.client_order_id = o.client_order_id AND b.account = o.account
) f ON true
LEFT JOIN LATERAL (
  SELECT bool_or(fact = 'REJECTED') AS rejected, bool_or(fact = 'DENIED') AS denied,
         bool_or(fact = 'CANCELED') AS canceled, bool_or(fact = 'EXPIRED') AS expired,
         bool_or(fact = 'ACKNOWLEDGED') AS acknowledged, bool_or(fact = 'IN_DOUBT') AS in_doubt,
         bool_or(fact = 'SUBMITTING') AS submitting, max(time_ns) AS last_time_ns,
         (array_agg(reason ORDER BY sequence DESC) FILTER (WHERE reason IS NOT NULL))[1] AS reason
  FROM order_events WHERE order_events.client_order_id = o.client_order_id AND order_events.account = o.account
) e ON true;

-- One row a trade: where its last transition left it, and what its fills add up to.
CREATE VIEW v_trades AS
SELECT t.account, t.trade_id, t.to_stage AS stage, t.to_lifecycle AS lifecycle, f.symbol, f.open_qty, f.entry_qty,
       f.entry_price, f.exit_price, f.realized_pnl + COALESCE(s.realized_pnl, 0) AS realized_pnl,
       f.fees + COALESCE(s.fees, 0) AS fees, f.fill_count, t.time_ns AS last_changed_at_ns
FROM (SELECT DISTINCT ON (account, trade_id) * FROM transitions WHERE trade_id IS NOT NULL
      ORDER BY account, trade_id, sequence DESC, position DESC) t
LEFT JOIN LATERAL (
  SELECT max(symbol) AS symbol,
         sum(signed_qty) AS open_qty,
         sum(booked_qty) FILTER (WHERE NOT is_exit) AS entry_qty,
         sum(booked_qty * last_price) FILTER (WHERE NOT is_exit)
           / NULLIF(sum(booked_qty) FILTER (WHERE NOT is_exit AND last_price IS NOT NULL), 0) AS entry_price,
         sum(booked_qty * last_price) FILTER (WHERE is_exit)
           / NULLIF(sum(booked_qty) FILTER (WHERE is_exit AND last_price IS NOT NULL), 0) AS exit_price,
         sum(realized_pnl) AS realized_pnl, sum(fee) AS fees, count(*) AS fill_count
  FROM v_fills b WHERE b.account = t.account AND b.trade_id = t.trade_id
) f ON true
LEFT JOIN LATERAL (
  SELECT sum(realized_pnl) AS realized_pnl, sum(fee) AS fees
  FROM settlements s WHERE s.account = t.account AND s.trade_id = t.trade_id
) s ON true;

-- Ledger scope: the positions our own fills imply.
CREATE VIEW v_positions AS
SELECT account, symbol, sum(signed_qty) AS qty, sum(realized_pnl) AS realized_pnl, sum(fee) AS fees,
       count(*) AS fill_count, max(time_ns) AS last_fill_at_ns
FROM v_fills GROUP BY account, symbol;

-- One row a break, as its last bead left it.
CREATE VIEW v_breaks AS
SELECT DISTINCT ON (break_id) break_id, account, venue, kind, severity, symbol, client_order_id, machine_state,
       broker_state, message, opened_at_ns, escalated_at_ns, resolution, resolved_by, resolved_at_ns
FROM breaks ORDER BY break_id, (event = 'resolution') DESC, sequence DESC;
