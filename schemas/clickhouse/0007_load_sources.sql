-- What the rows of a loaded file are called in `source`: of two frames that begin at once, the one whose file's name
-- comes first is read back first. '' is what was loaded before.
ALTER TABLE loads ADD COLUMN source String AFTER digest;
