-- What version 2 added: what is known by content, so that nothing is computed twice.

CREATE TABLE IF NOT EXISTS readings (
  run_id VARCHAR NOT NULL, flush INTEGER NOT NULL, reading VARCHAR NOT NULL, n INTEGER NOT NULL, width INTEGER NOT NULL,
  keys BLOB NOT NULL, numbers BLOB NOT NULL
);
COMMENT ON TABLE readings IS 'what single cells gave on single items, by content: later runs read it instead of computing it again';
COMMENT ON COLUMN readings.reading IS 'content key of model, run variant and metric (or edit, for its receipt)';
COMMENT ON COLUMN readings.keys IS 'n content keys of cells on items, 16 bytes each';
COMMENT ON COLUMN readings.numbers IS 'n times width float32, little endian; NaN where a cell has no value';

CREATE TABLE IF NOT EXISTS contexts (
  run_id VARCHAR NOT NULL, flush INTEGER NOT NULL, key VARCHAR NOT NULL, experiment VARCHAR NOT NULL, model VARCHAR NOT NULL,
  data VARCHAR NOT NULL, reused_from VARCHAR, failed BOOLEAN NOT NULL, headlines JSON NOT NULL
);
COMMENT ON TABLE contexts IS 'what a run has finished: one row per experiment (or `keep` conditions), model and data set';
COMMENT ON COLUMN contexts.key IS 'content key: equal keys have equal rows in every table';
COMMENT ON COLUMN contexts.reused_from IS 'the run whose rows were copied; NULL where they were computed';
COMMENT ON COLUMN contexts.failed IS 'whether an `expect` is broken';
