-- The sending pool that a delivery left through; '' is the main one, and what was stored before.
ALTER TABLE events ADD COLUMN pool String AFTER channel;
