-- The tables of a Glassbox results file. Insert-only: nothing is ever updated or deleted, "latest" is a view. No primary
-- keys and no indexes: they make inserts slow and are where write-ahead-log replay has had bugs. Times are UTC.
-- Statements end with a semicolon at the end of a line.

CREATE TABLE store_version (version INTEGER NOT NULL, glassbox VARCHAR NOT NULL, duckdb VARCHAR NOT NULL, created TIMESTAMP NOT NULL);
COMMENT ON TABLE store_version IS 'version of this schema; a newer one than the program knows is refused';

CREATE TABLE runs (
  run_id VARCHAR NOT NULL, file VARCHAR NOT NULL, language INTEGER NOT NULL, glassbox VARCHAR NOT NULL, command VARCHAR NOT NULL,
  started TIMESTAMP NOT NULL, seeds JSON NOT NULL, planned JSON NOT NULL, reports JSON NOT NULL
);
COMMENT ON TABLE runs IS 'one row per gbx run, written when it starts';
COMMENT ON COLUMN runs.run_id IS 'UUID of version 7: sorts by time';
COMMENT ON COLUMN runs.file IS 'absolute path of the .gbx file';
COMMENT ON COLUMN runs.seeds IS 'seed by the name of what draws';
COMMENT ON COLUMN runs.reports IS 'the report blocks of the file, from which its pages are made';
COMMENT ON COLUMN runs.planned IS 'counts of the plan: cells, climbs, token_layers, ...';

CREATE TABLE run_ends (run_id VARCHAR NOT NULL, status VARCHAR NOT NULL, finished TIMESTAMP NOT NULL, seconds DOUBLE NOT NULL);
COMMENT ON TABLE run_ends IS 'how a run ended; a run without a row here is under way, or was killed';
COMMENT ON COLUMN run_ends.status IS 'complete, failed, incomplete or interrupted';

CREATE TABLE run_env (run_id VARCHAR NOT NULL, kind VARCHAR NOT NULL, key VARCHAR NOT NULL, value VARCHAR NOT NULL);
COMMENT ON TABLE run_env IS 'what a run ran on';
COMMENT ON COLUMN run_env.kind IS 'version (of a package), platform, or actual (what the counts of the plan came to)';

CREATE TABLE specs (run_id VARCHAR NOT NULL, ordinal INTEGER NOT NULL, path VARCHAR NOT NULL, sha256 VARCHAR NOT NULL, source VARCHAR NOT NULL);
COMMENT ON TABLE specs IS 'the source texts of a run: ordinal 0 is the .gbx file, then its imports';

CREATE TABLE models (
  run_id VARCHAR NOT NULL, model VARCHAR NOT NULL, source VARCHAR NOT NULL, family VARCHAR NOT NULL, model_type VARCHAR NOT NULL,
  config_sha256 VARCHAR NOT NULL, weights_sha256 VARCHAR NOT NULL, tokenizer_sha256 VARCHAR NOT NULL,
  dtype VARCHAR NOT NULL, device VARCHAR NOT NULL, executor VARCHAR NOT NULL, facts JSON NOT NULL
);
COMMENT ON TABLE models IS 'the models of a run with the fingerprints of what was read';
COMMENT ON COLUMN models.facts IS 'n_layers, n_heads, d_model, ...';

CREATE TABLE items (
  run_id VARCHAR NOT NULL, data VARCHAR NOT NULL, model VARCHAR NOT NULL, item INTEGER NOT NULL, template INTEGER, kept BOOLEAN NOT NULL,
  dropped_by VARCHAR, variables JSON NOT NULL, features JSON NOT NULL, answers JSON NOT NULL
);
COMMENT ON TABLE items IS 'the drawn items of each data set, per model';
COMMENT ON COLUMN items.item IS 'number in the drawn set, from 0, the same for all models';
COMMENT ON COLUMN items.template IS 'which of several templates, from 0';
COMMENT ON COLUMN items.kept IS 'false when `keep where` dropped it for this model';
COMMENT ON COLUMN items.answers IS 'by name: texts and token ids';

CREATE TABLE prompts (
  run_id VARCHAR NOT NULL, data VARCHAR NOT NULL, model VARCHAR NOT NULL, item INTEGER NOT NULL, prompt VARCHAR NOT NULL,
  text VARCHAR NOT NULL, n_tokens INTEGER NOT NULL
);
COMMENT ON TABLE prompts IS 'the prompts of each item';

CREATE TABLE tokens (
  run_id VARCHAR NOT NULL, data VARCHAR NOT NULL, model VARCHAR NOT NULL, item INTEGER NOT NULL, prompt VARCHAR NOT NULL,
  pos INTEGER NOT NULL, token_id INTEGER NOT NULL, token VARCHAR NOT NULL, label VARCHAR
);
COMMENT ON TABLE tokens IS 'the tokens of each prompt';
COMMENT ON COLUMN tokens.pos IS 'position, from 0; 0 may be the begin-of-sequence token';
COMMENT ON COLUMN tokens.label IS 'span label shown at this position';

CREATE TABLE cells (
  run_id VARCHAR NOT NULL, flush INTEGER NOT NULL, key VARCHAR NOT NULL, experiment VARCHAR NOT NULL, run VARCHAR NOT NULL,
  model VARCHAR NOT NULL, data VARCHAR NOT NULL, cell JSON NOT NULL, items INTEGER NOT NULL, status VARCHAR NOT NULL,
  executor VARCHAR NOT NULL, seconds DOUBLE NOT NULL, error VARCHAR NOT NULL
);
COMMENT ON TABLE cells IS 'the ledger: what has been computed, in the same transaction as its rows';
COMMENT ON COLUMN cells.key IS 'content key: equal keys have equal results';
COMMENT ON COLUMN cells.status IS 'done, proven (an edit that cannot change anything) or failed';

CREATE TABLE flushes (
  run_id VARCHAR NOT NULL, flush INTEGER NOT NULL, finished TIMESTAMP NOT NULL, cells INTEGER NOT NULL,
  measurements BIGINT NOT NULL, lens BIGINT NOT NULL, tensors BIGINT NOT NULL
);
COMMENT ON TABLE flushes IS 'one row per transaction of a run, with the number of rows it wrote to each table';

CREATE TABLE receipts (
  run_id VARCHAR NOT NULL, experiment VARCHAR NOT NULL, run VARCHAR NOT NULL, line INTEGER NOT NULL, edit VARCHAR NOT NULL,
  model VARCHAR NOT NULL, data VARCHAR NOT NULL, cells INTEGER NOT NULL, cells_fired INTEGER NOT NULL, cells_proven INTEGER NOT NULL,
  moved_max DOUBLE, moved_mean DOUBLE, relative DOUBLE
);
COMMENT ON TABLE receipts IS 'what each edit did: in how many cells it fired and how far it moved the tensor';
COMMENT ON COLUMN receipts.moved_mean IS 'mean over cells and items of the L2 norm of the change';
COMMENT ON COLUMN receipts.relative IS 'mean of the change divided by the norm of the tensor before it';

CREATE TABLE measures (
  run_id VARCHAR NOT NULL, experiment VARCHAR NOT NULL, measure VARCHAR NOT NULL, title VARCHAR NOT NULL, variables JSON NOT NULL,
  kind VARCHAR NOT NULL, is_ratio BOOLEAN NOT NULL, has_items BOOLEAN NOT NULL, unit VARCHAR NOT NULL, source VARCHAR NOT NULL, line INTEGER NOT NULL
);
COMMENT ON TABLE measures IS 'the measures of a run, in the order of the file';
COMMENT ON COLUMN measures.variables IS 'binder variables in order: name, axis, kind, named';
COMMENT ON COLUMN measures.kind IS 'value, ratio, top (rows in lens) or text';

CREATE TABLE measurements (
  run_id VARCHAR NOT NULL, experiment VARCHAR NOT NULL, measure VARCHAR NOT NULL, model VARCHAR NOT NULL, data VARCHAR NOT NULL, item INTEGER,
  layer INTEGER, head INTEGER, kv_head INTEGER, pos INTEGER, pos_label VARCHAR, query INTEGER, query_label VARCHAR,
  key INTEGER, key_label VARCHAR, neuron INTEGER, expert INTEGER,
  number_1 DOUBLE, text_1 VARCHAR, number_2 DOUBLE, text_2 VARCHAR, number_3 DOUBLE, text_3 VARCHAR,
  number_4 DOUBLE, text_4 VARCHAR, number_5 DOUBLE, text_5 VARCHAR, number_6 DOUBLE, text_6 VARCHAR,
  value DOUBLE, num DOUBLE, den DOUBLE, text VARCHAR
);
COMMENT ON TABLE measurements IS 'every number: one row per measure, model, data set, item and cell; the views of each experiment read it';
COMMENT ON COLUMN measurements.item IS 'NULL for a measure without items';
COMMENT ON COLUMN measurements.pos IS 'token index; NULL where a whole span is meant';
COMMENT ON COLUMN measurements.number_1 IS 'slots 1 to 6 hold variables that have no column of their own, in the order of the binders (see measures.variables)';
COMMENT ON COLUMN measurements.value IS 'NULL where missing, and for a ratio where the denominator is near 0';
COMMENT ON COLUMN measurements.num IS 'numerator of a ratio';
COMMENT ON COLUMN measurements.den IS 'denominator of a ratio';

CREATE TABLE lens (
  run_id VARCHAR NOT NULL, experiment VARCHAR NOT NULL, measure VARCHAR NOT NULL, model VARCHAR NOT NULL, data VARCHAR NOT NULL, item INTEGER,
  layer INTEGER, head INTEGER, kv_head INTEGER, pos INTEGER, pos_label VARCHAR, query INTEGER, query_label VARCHAR,
  key INTEGER, key_label VARCHAR, neuron INTEGER, expert INTEGER,
  number_1 DOUBLE, text_1 VARCHAR, number_2 DOUBLE, text_2 VARCHAR, number_3 DOUBLE, text_3 VARCHAR,
  number_4 DOUBLE, text_4 VARCHAR, number_5 DOUBLE, text_5 VARCHAR, number_6 DOUBLE, text_6 VARCHAR,
  value DOUBLE, rank INTEGER NOT NULL, token_id INTEGER NOT NULL, token VARCHAR NOT NULL, logit DOUBLE, prob DOUBLE
);
COMMENT ON TABLE lens IS 'the most likely tokens of `top` measures, one row per rank';
COMMENT ON COLUMN lens.rank IS '1 is the most likely';

CREATE TABLE summaries (
  run_id VARCHAR NOT NULL, experiment VARCHAR NOT NULL, measure VARCHAR NOT NULL, model VARCHAR NOT NULL, data VARCHAR NOT NULL,
  layer INTEGER, head INTEGER, kv_head INTEGER, pos INTEGER, pos_label VARCHAR, query INTEGER, query_label VARCHAR,
  key INTEGER, key_label VARCHAR, neuron INTEGER, expert INTEGER,
  number_1 DOUBLE, text_1 VARCHAR, number_2 DOUBLE, text_2 VARCHAR, number_3 DOUBLE, text_3 VARCHAR,
  number_4 DOUBLE, text_4 VARCHAR, number_5 DOUBLE, text_5 VARCHAR, number_6 DOUBLE, text_6 VARCHAR,
  cell INTEGER NOT NULL, n INTEGER, mean DOUBLE, stderr DOUBLE, lo DOUBLE, hi DOUBLE
);
COMMENT ON TABLE summaries IS 'means over items, written at the end of a run';
COMMENT ON COLUMN summaries.cell IS 'order in which the run measured the cells';
COMMENT ON COLUMN summaries.pos IS 'NULL where items have the same label at different positions';
COMMENT ON COLUMN summaries.n IS 'items that count; NULL for a measure without items';
COMMENT ON COLUMN summaries.mean IS 'mean over items; of a ratio sum(num) / sum(den)';
COMMENT ON COLUMN summaries.lo IS '2.5% point of the bootstrap over items (2,000 resamples, fixed seed)';
COMMENT ON COLUMN summaries.hi IS '97.5% point of the bootstrap over items';

CREATE TABLE tensors (
  run_id VARCHAR NOT NULL, experiment VARCHAR NOT NULL, record VARCHAR NOT NULL, model VARCHAR NOT NULL, data VARCHAR NOT NULL, item INTEGER,
  cell JSON NOT NULL, axes JSON NOT NULL, shape JSON NOT NULL, dtype VARCHAR NOT NULL, labels JSON NOT NULL, bytes BLOB NOT NULL
);
COMMENT ON TABLE tensors IS 'whole tensors of `record` statements';
COMMENT ON COLUMN tensors.bytes IS 'the numbers in C order, little endian, of type dtype';
COMMENT ON COLUMN tensors.labels IS 'by axis: one entry per index, such as token texts';

CREATE TABLE expectations (
  run_id VARCHAR NOT NULL, experiment VARCHAR NOT NULL, line INTEGER NOT NULL, text VARCHAR NOT NULL, model VARCHAR, data VARCHAR,
  holds BOOLEAN NOT NULL, cells INTEGER NOT NULL, broken INTEGER NOT NULL, "left" DOUBLE, "right" DOUBLE, example JSON NOT NULL
);
COMMENT ON TABLE expectations IS 'each `expect`, per model and data set';
COMMENT ON COLUMN expectations.example IS 'the first cell where it is broken';

CREATE TABLE verification (
  run_id VARCHAR NOT NULL, model VARCHAR NOT NULL, "check" VARCHAR NOT NULL, subject VARCHAR NOT NULL, value DOUBLE, tolerance DOUBLE,
  ok BOOLEAN NOT NULL, detail VARCHAR NOT NULL
);
COMMENT ON TABLE verification IS 'what was checked of each model before its numbers were trusted';

CREATE TABLE diagnostics (run_id VARCHAR NOT NULL, code VARCHAR NOT NULL, severity VARCHAR NOT NULL, headline VARCHAR NOT NULL, text VARCHAR NOT NULL);
COMMENT ON TABLE diagnostics IS 'warnings and errors that were shown during a run';

CREATE VIEW run_list AS
  SELECT r.run_id, r.file, coalesce(e.status, 'started') AS status, r.started, e.finished, e.seconds, r.glassbox, r.command
  FROM main.runs r LEFT JOIN main.run_ends e ON e.run_id = r.run_id ORDER BY r.run_id;
COMMENT ON VIEW run_list IS 'all runs with how they ended';
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
