-- Orders that protect a position at the venue: they went out with their entry, and share a group with the trade's exits.

ALTER TABLE orders
  ADD COLUMN is_protective boolean NOT NULL DEFAULT false, ADD COLUMN venue_group text;
ALTER TABLE intents
  ADD COLUMN bracket boolean NOT NULL DEFAULT false;
