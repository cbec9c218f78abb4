-- The tables of a Glassbox results file. Insert-only: nothing is ever updated or deleted, "latest" is a view. No primary
-- keys and no indexes: they make inserts slow and are where write-ahead-log replay has had bugs. Times are UTC.
-- Statements end with a semicolon at the end of a line. Every table and column has a comment: `FROM about` lists them.

CREATE TABLE IF NOT EXISTS store_version (version INTEGER NOT NULL, glassbox VARCHAR NOT NULL, duckdb VARCHAR NOT NULL, created TIMESTAMP NOT NULL);
COMMENT ON TABLE store_version IS 'version of this schema; a newer one than the program knows is refused';
COMMENT ON COLUMN store_version.version IS 'the greatest one counts; each migration adds a row';
COMMENT ON COLUMN store_version.glassbox IS 'version of Glassbox that made or migrated the file';
COMMENT ON COLUMN store_version.duckdb IS 'version of DuckDB that it used';
COMMENT ON COLUMN store_version.created IS 'when, in UTC';

CREATE TABLE IF NOT EXISTS runs (
  run_id VARCHAR NOT NULL, file VARCHAR NOT NULL, language INTEGER NOT NULL, glassbox VARCHAR NOT NULL, command VARCHAR NOT NULL,
  started TIMESTAMP NOT NULL, seeds JSON NOT NULL, planned JSON NOT NULL, reports JSON NOT NULL
);
COMMENT ON TABLE runs IS 'one row per gbx run, written when it starts; run_list also says how it ended';
COMMENT ON COLUMN runs.run_id IS 'UUID of version 7: sorts by time';
COMMENT ON COLUMN runs.file IS 'absolute path of the .gbx file';
COMMENT ON COLUMN runs.language IS 'version of the language: the number after `gbx`';
COMMENT ON COLUMN runs.glassbox IS 'version of Glassbox';
COMMENT ON COLUMN runs.command IS 'the command line';
COMMENT ON COLUMN runs.started IS 'when it started, in UTC';
COMMENT ON COLUMN runs.seeds IS 'seed by the name of what draws';
COMMENT ON COLUMN runs.planned IS 'counts of the plan: cells, climbs, token_layers, ...';
COMMENT ON COLUMN runs.reports IS 'the report blocks of the file, from which its pages are made';

CREATE TABLE IF NOT EXISTS run_ends (run_id VARCHAR NOT NULL, status VARCHAR NOT NULL, finished TIMESTAMP NOT NULL, seconds DOUBLE NOT NULL);
COMMENT ON TABLE run_ends IS 'how a run ended; a run without a row here is under way, or was killed';
COMMENT ON COLUMN run_ends.run_id IS 'the run';
COMMENT ON COLUMN run_ends.status IS 'complete, failed, incomplete or interrupted';
COMMENT ON COLUMN run_ends.finished IS 'when it ended, in UTC';
COMMENT ON COLUMN run_ends.seconds IS 'seconds from start to end';

CREATE TABLE IF NOT EXISTS run_env (run_id VARCHAR NOT NULL, kind VARCHAR NOT NULL, key VARCHAR NOT NULL, value VARCHAR NOT NULL);
COMMENT ON TABLE run_env IS 'what a run ran on';
COMMENT ON COLUMN run_env.run_id IS 'the run';
COMMENT ON COLUMN run_env.kind IS 'version (of a package), platform, or actual (what the counts of the plan came to)';
COMMENT ON COLUMN run_env.key IS 'name of the package, fact or count';
COMMENT ON COLUMN run_env.value IS 'its value as text';

CREATE TABLE IF NOT EXISTS specs (run_id VARCHAR NOT NULL, ordinal INTEGER NOT NULL, path VARCHAR NOT NULL, sha256 VARCHAR NOT NULL, source VARCHAR NOT NULL);
COMMENT ON TABLE specs IS 'the source texts of a run';
COMMENT ON COLUMN specs.run_id IS 'the run';
COMMENT ON COLUMN specs.ordinal IS '0 is the .gbx file, then its imports';
COMMENT ON COLUMN specs.path IS 'the path as it was given';
COMMENT ON COLUMN specs.sha256 IS 'fingerprint of the text';
COMMENT ON COLUMN specs.source IS 'the whole text';

CREATE TABLE IF NOT EXISTS models (
  run_id VARCHAR NOT NULL, model VARCHAR NOT NULL, source VARCHAR NOT NULL, family VARCHAR NOT NULL, model_type VARCHAR NOT NULL,
  config_sha256 VARCHAR NOT NULL, weights_sha256 VARCHAR NOT NULL, tokenizer_sha256 VARCHAR NOT NULL,
  dtype VARCHAR NOT NULL, device VARCHAR NOT NULL, executor VARCHAR NOT NULL, facts JSON NOT NULL
);
COMMENT ON TABLE models IS 'the models of a run with the fingerprints of what was read';
COMMENT ON COLUMN models.run_id IS 'the run';
COMMENT ON COLUMN models.model IS 'name in the file';
COMMENT ON COLUMN models.source IS 'the declaration in the file';
COMMENT ON COLUMN models.family IS 'family file that names its modules';
COMMENT ON COLUMN models.model_type IS 'model_type of its config.json';
COMMENT ON COLUMN models.config_sha256 IS 'fingerprint of config.json, keys sorted';
COMMENT ON COLUMN models.weights_sha256 IS 'fingerprint of the weights';
COMMENT ON COLUMN models.tokenizer_sha256 IS 'fingerprint of the tokenizer';
COMMENT ON COLUMN models.dtype IS 'type of the weights: float32, bfloat16, float16';
COMMENT ON COLUMN models.device IS 'where it ran';
COMMENT ON COLUMN models.executor IS 'delta or hooked, and why';
COMMENT ON COLUMN models.facts IS 'n_layers, n_heads, d_model, ...';

CREATE TABLE IF NOT EXISTS items (
  run_id VARCHAR NOT NULL, data VARCHAR NOT NULL, model VARCHAR NOT NULL, item INTEGER NOT NULL, template INTEGER, kept BOOLEAN NOT NULL,
  dropped_by VARCHAR, variables JSON NOT NULL, features JSON NOT NULL, answers JSON NOT NULL
);
COMMENT ON TABLE items IS 'the drawn items of each data set, per model; the views data.* show them with a column each';
COMMENT ON COLUMN items.run_id IS 'the run';
COMMENT ON COLUMN items.data IS 'name of the data set';
COMMENT ON COLUMN items.model IS 'name of the model';
COMMENT ON COLUMN items.item IS 'number in the drawn set, from 0, the same for all models';
COMMENT ON COLUMN items.template IS 'which of several templates, from 0';
COMMENT ON COLUMN items.kept IS 'false when `keep where` dropped it for this model';
COMMENT ON COLUMN items.dropped_by IS 'the condition that dropped it';
COMMENT ON COLUMN items.variables IS 'the drawn values by name';
COMMENT ON COLUMN items.features IS 'features by name';
COMMENT ON COLUMN items.answers IS 'by name: texts and token ids';

CREATE TABLE IF NOT EXISTS prompts (
  run_id VARCHAR NOT NULL, data VARCHAR NOT NULL, model VARCHAR NOT NULL, item INTEGER NOT NULL, prompt VARCHAR NOT NULL,
  text VARCHAR NOT NULL, n_tokens INTEGER NOT NULL
);
COMMENT ON TABLE prompts IS 'the prompts of each item';
COMMENT ON COLUMN prompts.run_id IS 'the run';
COMMENT ON COLUMN prompts.data IS 'name of the data set';
COMMENT ON COLUMN prompts.model IS 'name of the model';
COMMENT ON COLUMN prompts.item IS 'number of the item';
COMMENT ON COLUMN prompts.prompt IS 'name of the prompt in the file';
COMMENT ON COLUMN prompts.text IS 'the whole text, without a begin-of-sequence token';
COMMENT ON COLUMN prompts.n_tokens IS 'number of tokens, a begin-of-sequence token included';

CREATE TABLE IF NOT EXISTS tokens (
  run_id VARCHAR NOT NULL, data VARCHAR NOT NULL, model VARCHAR NOT NULL, item INTEGER NOT NULL, prompt VARCHAR NOT NULL,
  pos INTEGER NOT NULL, token_id INTEGER NOT NULL, token VARCHAR NOT NULL, label VARCHAR
);
COMMENT ON TABLE tokens IS 'the tokens of each prompt; their exact bytes are in vocabulary';
COMMENT ON COLUMN tokens.run_id IS 'the run';
COMMENT ON COLUMN tokens.data IS 'name of the data set';
COMMENT ON COLUMN tokens.model IS 'name of the model';
COMMENT ON COLUMN tokens.item IS 'number of the item';
COMMENT ON COLUMN tokens.prompt IS 'name of the prompt';
COMMENT ON COLUMN tokens.pos IS 'position, from 0; 0 may be the begin-of-sequence token';
COMMENT ON COLUMN tokens.token_id IS 'number in the vocabulary of the model';
COMMENT ON COLUMN tokens.token IS 'its text; bytes that are no whole character stand as \xNN';
COMMENT ON COLUMN tokens.label IS 'span label shown at this position';

CREATE TABLE IF NOT EXISTS vocabulary (run_id VARCHAR NOT NULL, model VARCHAR NOT NULL, token_id INTEGER NOT NULL, token VARCHAR NOT NULL, bytes BLOB NOT NULL);
COMMENT ON TABLE vocabulary IS 'the tokens that occur in the prompts of a run or among what `top` found, exactly';
COMMENT ON COLUMN vocabulary.run_id IS 'the run';
COMMENT ON COLUMN vocabulary.model IS 'name of the model';
COMMENT ON COLUMN vocabulary.token_id IS 'number in the vocabulary of the model';
COMMENT ON COLUMN vocabulary.token IS 'its text; bytes that are no whole character stand as \xNN';
COMMENT ON COLUMN vocabulary.bytes IS 'the bytes that it stands for in running text';

CREATE TABLE IF NOT EXISTS cells (
  run_id VARCHAR NOT NULL, flush INTEGER NOT NULL, key VARCHAR NOT NULL, experiment VARCHAR NOT NULL, run VARCHAR NOT NULL,
  model VARCHAR NOT NULL, data VARCHAR NOT NULL, cell JSON NOT NULL, items INTEGER NOT NULL, status VARCHAR NOT NULL,
  executor VARCHAR NOT NULL, seconds DOUBLE NOT NULL, error VARCHAR NOT NULL
);
COMMENT ON TABLE cells IS 'the ledger: what has been computed, in the same transaction as its rows';
COMMENT ON COLUMN cells.run_id IS 'the run';
COMMENT ON COLUMN cells.flush IS 'the transaction that wrote it';
COMMENT ON COLUMN cells.key IS 'content key: equal keys have equal results';
COMMENT ON COLUMN cells.experiment IS 'name of the experiment';
COMMENT ON COLUMN cells.run IS 'name of the run in the file';
COMMENT ON COLUMN cells.model IS 'name of the model';
COMMENT ON COLUMN cells.data IS 'name of the data set';
COMMENT ON COLUMN cells.cell IS 'which cells: the variables and their values, or how many';
COMMENT ON COLUMN cells.items IS 'number of items';
COMMENT ON COLUMN cells.status IS 'done, proven (an edit that cannot change anything) or failed';
COMMENT ON COLUMN cells.executor IS 'what ran it';
COMMENT ON COLUMN cells.seconds IS 'seconds it took, where known';
COMMENT ON COLUMN cells.error IS 'why it failed';

CREATE TABLE IF NOT EXISTS flushes (
  run_id VARCHAR NOT NULL, flush INTEGER NOT NULL, finished TIMESTAMP NOT NULL, cells INTEGER NOT NULL,
  measurements BIGINT NOT NULL, lens BIGINT NOT NULL, tensors BIGINT NOT NULL
);
COMMENT ON TABLE flushes IS 'one row per transaction of a run, with the number of rows it wrote to each table';
COMMENT ON COLUMN flushes.run_id IS 'the run';
COMMENT ON COLUMN flushes.flush IS 'number of the transaction, from 0';
COMMENT ON COLUMN flushes.finished IS 'when it was written, in UTC';
COMMENT ON COLUMN flushes.cells IS 'rows it wrote to cells';
COMMENT ON COLUMN flushes.measurements IS 'rows it wrote to value_rows';
COMMENT ON COLUMN flushes.lens IS 'rows it wrote to top_rows';
COMMENT ON COLUMN flushes.tensors IS 'rows it wrote to tensors';

CREATE TABLE IF NOT EXISTS receipts (
  run_id VARCHAR NOT NULL, experiment VARCHAR NOT NULL, run VARCHAR NOT NULL, line INTEGER NOT NULL, edit VARCHAR NOT NULL,
  model VARCHAR NOT NULL, data VARCHAR NOT NULL, cells INTEGER NOT NULL, cells_fired INTEGER NOT NULL, cells_proven INTEGER NOT NULL,
  moved_max DOUBLE, moved_mean DOUBLE, relative DOUBLE
);
COMMENT ON TABLE receipts IS 'what each edit did: in how many cells it fired and how far it moved the tensor';
COMMENT ON COLUMN receipts.run_id IS 'the run of the file';
COMMENT ON COLUMN receipts.experiment IS 'name of the experiment';
COMMENT ON COLUMN receipts.run IS 'name of the edited run in the experiment';
COMMENT ON COLUMN receipts.line IS 'line of the edit, from 1';
COMMENT ON COLUMN receipts.edit IS 'the edit as written';
COMMENT ON COLUMN receipts.model IS 'name of the model';
COMMENT ON COLUMN receipts.data IS 'name of the data set';
COMMENT ON COLUMN receipts.cells IS 'cells of the run, counted with their items';
COMMENT ON COLUMN receipts.cells_fired IS 'those where the edit ran';
COMMENT ON COLUMN receipts.cells_proven IS 'those where it was proven to change nothing, and did not run';
COMMENT ON COLUMN receipts.moved_max IS 'the largest L2 norm of a change';
COMMENT ON COLUMN receipts.moved_mean IS 'mean over cells and items of the L2 norm of the change';
COMMENT ON COLUMN receipts.relative IS 'mean of the change divided by the norm of the tensor before it';

CREATE TABLE IF NOT EXISTS measures (
  run_id VARCHAR NOT NULL, experiment VARCHAR NOT NULL, measure VARCHAR NOT NULL, title VARCHAR NOT NULL, variables JSON NOT NULL,
  kind VARCHAR NOT NULL, is_ratio BOOLEAN NOT NULL, has_items BOOLEAN NOT NULL, unit VARCHAR NOT NULL, source VARCHAR NOT NULL, line INTEGER NOT NULL
);
COMMENT ON TABLE measures IS 'the measures of a run, in the order of the file';
COMMENT ON COLUMN measures.run_id IS 'the run';
COMMENT ON COLUMN measures.experiment IS 'name of the experiment';
COMMENT ON COLUMN measures.measure IS 'name of the measure';
COMMENT ON COLUMN measures.title IS 'title of the experiment';
COMMENT ON COLUMN measures.variables IS 'binder variables in order: name, axis, kind, named';
COMMENT ON COLUMN measures.kind IS 'value, ratio, top (rows in top_rows), text or edges (of a circuit)';
COMMENT ON COLUMN measures.is_ratio IS 'whether its mean over items is sum(num) / sum(den)';
COMMENT ON COLUMN measures.has_items IS 'whether it has a number for each item';
COMMENT ON COLUMN measures.unit IS 'unit of its numbers: nats, logits, ...; empty where none is claimed';
COMMENT ON COLUMN measures.source IS 'the statement of the file';
COMMENT ON COLUMN measures.line IS 'its line, from 1';

CREATE TABLE IF NOT EXISTS series (
  series INTEGER NOT NULL, run_id VARCHAR NOT NULL, flush INTEGER NOT NULL, experiment VARCHAR NOT NULL, measure VARCHAR NOT NULL,
  model VARCHAR NOT NULL, data VARCHAR NOT NULL, n_rows BIGINT NOT NULL
);
COMMENT ON TABLE series IS 'whose the numbers are: rows of value_rows and top_rows carry the number of a series. A run that found its numbers known points to those of the run that computed them';
COMMENT ON COLUMN series.series IS 'number of the series in this file';
COMMENT ON COLUMN series.run_id IS 'the run';
COMMENT ON COLUMN series.flush IS 'the transaction of that run that wrote it';
COMMENT ON COLUMN series.experiment IS 'name of the experiment';
COMMENT ON COLUMN series.measure IS 'name of the measure';
COMMENT ON COLUMN series.model IS 'name of the model';
COMMENT ON COLUMN series.data IS 'name of the data set';
COMMENT ON COLUMN series.n_rows IS 'how many rows there are: the count that they are checked against';

CREATE TABLE IF NOT EXISTS value_rows (
  series INTEGER NOT NULL, item INTEGER,
  layer INTEGER, head INTEGER, pos INTEGER, pos_label VARCHAR, numbers DOUBLE[], texts VARCHAR[],
  value DOUBLE, num DOUBLE, den DOUBLE, text VARCHAR
);
COMMENT ON TABLE value_rows IS 'every number: one row per measure, model, data set, item and cell; the views of each experiment, and measurements, read it';
COMMENT ON COLUMN value_rows.series IS 'whose it is, see series';
COMMENT ON COLUMN value_rows.item IS 'number of the item; NULL for a measure without items';
COMMENT ON COLUMN value_rows.layer IS 'layer, from 0';
COMMENT ON COLUMN value_rows.head IS 'query head, from 0';
COMMENT ON COLUMN value_rows.pos IS 'token index; NULL where a whole span is meant';
COMMENT ON COLUMN value_rows.pos_label IS 'span label at that position, such as s2';
COMMENT ON COLUMN value_rows.numbers IS 'variables without a column of their own, in the order of the binders (see measures.variables): those that are numbers';
COMMENT ON COLUMN value_rows.texts IS 'the same: those that are texts, or the labels of positions';
COMMENT ON COLUMN value_rows.value IS 'the number; NULL where missing, and for a ratio where the denominator is near 0';
COMMENT ON COLUMN value_rows.num IS 'numerator of a ratio';
COMMENT ON COLUMN value_rows.den IS 'denominator of a ratio';
COMMENT ON COLUMN value_rows.text IS 'the text of a `text` measure';

CREATE TABLE IF NOT EXISTS top_rows (
  series INTEGER NOT NULL, item INTEGER,
  layer INTEGER, head INTEGER, pos INTEGER, pos_label VARCHAR, numbers DOUBLE[], texts VARCHAR[],
  value DOUBLE, rank INTEGER NOT NULL, token_id INTEGER NOT NULL, token VARCHAR NOT NULL, logit DOUBLE, prob DOUBLE
);
COMMENT ON TABLE top_rows IS 'the most likely tokens of `top` measures, one row per rank; the view lens reads it';
COMMENT ON COLUMN top_rows.series IS 'whose it is, see series';
COMMENT ON COLUMN top_rows.item IS 'number of the item; NULL for a measure without items';
COMMENT ON COLUMN top_rows.layer IS 'layer, from 0';
COMMENT ON COLUMN top_rows.head IS 'query head, from 0';
COMMENT ON COLUMN top_rows.pos IS 'token index; NULL where a whole span is meant';
COMMENT ON COLUMN top_rows.pos_label IS 'span label at that position, such as s2';
COMMENT ON COLUMN top_rows.numbers IS 'variables without a column of their own, in the order of the binders (see measures.variables): those that are numbers';
COMMENT ON COLUMN top_rows.texts IS 'the same: those that are texts, or the labels of positions';
COMMENT ON COLUMN top_rows.value IS 'the probability';
COMMENT ON COLUMN top_rows.rank IS '1 is the most likely';
COMMENT ON COLUMN top_rows.token_id IS 'number in the vocabulary of the model';
COMMENT ON COLUMN top_rows.token IS 'its text';
COMMENT ON COLUMN top_rows.logit IS 'its logit';
COMMENT ON COLUMN top_rows.prob IS 'its probability, 0 to 1';

CREATE TABLE IF NOT EXISTS summaries (
  run_id VARCHAR NOT NULL, experiment VARCHAR NOT NULL, measure VARCHAR NOT NULL, model VARCHAR NOT NULL, data VARCHAR NOT NULL,
  layer INTEGER, head INTEGER, pos INTEGER, pos_label VARCHAR, numbers DOUBLE[], texts VARCHAR[],
  cell INTEGER NOT NULL, n INTEGER, mean DOUBLE, stderr DOUBLE, lo DOUBLE, hi DOUBLE
);
COMMENT ON TABLE summaries IS 'means over items, written at the end of a run';
COMMENT ON COLUMN summaries.run_id IS 'the run';
COMMENT ON COLUMN summaries.experiment IS 'name of the experiment';
COMMENT ON COLUMN summaries.measure IS 'name of the measure';
COMMENT ON COLUMN summaries.model IS 'name of the model';
COMMENT ON COLUMN summaries.data IS 'name of the data set';
COMMENT ON COLUMN summaries.layer IS 'layer, from 0';
COMMENT ON COLUMN summaries.head IS 'query head, from 0';
COMMENT ON COLUMN summaries.pos IS 'token index; NULL where items have the same label at different positions';
COMMENT ON COLUMN summaries.pos_label IS 'span label at that position, such as s2';
COMMENT ON COLUMN summaries.numbers IS 'variables without a column of their own, in the order of the binders (see measures.variables): those that are numbers';
COMMENT ON COLUMN summaries.texts IS 'the same: those that are texts, or the labels of positions';
COMMENT ON COLUMN summaries.cell IS 'order in which the run measured the cells';
COMMENT ON COLUMN summaries.n IS 'items that count; NULL for a measure without items';
COMMENT ON COLUMN summaries.mean IS 'mean over items; of a ratio sum(num) / sum(den)';
COMMENT ON COLUMN summaries.stderr IS 'standard error of the mean over items';
COMMENT ON COLUMN summaries.lo IS '2.5% point of the bootstrap over items (2,000 resamples, fixed seed)';
COMMENT ON COLUMN summaries.hi IS '97.5% point of the bootstrap over items';

CREATE TABLE IF NOT EXISTS tensors (
  run_id VARCHAR NOT NULL, experiment VARCHAR NOT NULL, record VARCHAR NOT NULL, model VARCHAR NOT NULL, data VARCHAR NOT NULL, item INTEGER,
  cell JSON NOT NULL, axes JSON NOT NULL, shape JSON NOT NULL, dtype VARCHAR NOT NULL, labels JSON NOT NULL, bytes BLOB NOT NULL
);
COMMENT ON TABLE tensors IS 'whole tensors of `record` statements';
COMMENT ON COLUMN tensors.run_id IS 'the run';
COMMENT ON COLUMN tensors.experiment IS 'name of the experiment';
COMMENT ON COLUMN tensors.record IS 'name of the record';
COMMENT ON COLUMN tensors.model IS 'name of the model';
COMMENT ON COLUMN tensors.data IS 'name of the data set';
COMMENT ON COLUMN tensors.item IS 'number of the item; NULL where the record has none';
COMMENT ON COLUMN tensors.cell IS 'the variables and their values';
COMMENT ON COLUMN tensors.axes IS 'names of the dimensions';
COMMENT ON COLUMN tensors.shape IS 'their sizes';
COMMENT ON COLUMN tensors.dtype IS 'type of the numbers: float32, ...';
COMMENT ON COLUMN tensors.labels IS 'by axis: one entry per index, such as token texts';
COMMENT ON COLUMN tensors.bytes IS 'the numbers in C order, little endian, of type dtype';

CREATE TABLE IF NOT EXISTS expectations (
  run_id VARCHAR NOT NULL, experiment VARCHAR NOT NULL, line INTEGER NOT NULL, text VARCHAR NOT NULL, model VARCHAR, data VARCHAR,
  holds BOOLEAN NOT NULL, cells INTEGER NOT NULL, broken INTEGER NOT NULL, "left" DOUBLE, "right" DOUBLE, example JSON NOT NULL
);
COMMENT ON TABLE expectations IS 'each `expect`, per model and data set';
COMMENT ON COLUMN expectations.run_id IS 'the run';
COMMENT ON COLUMN expectations.experiment IS 'name of the experiment';
COMMENT ON COLUMN expectations.line IS 'its line, from 1';
COMMENT ON COLUMN expectations.text IS 'the claim as written';
COMMENT ON COLUMN expectations.model IS 'name of the model';
COMMENT ON COLUMN expectations.data IS 'name of the data set';
COMMENT ON COLUMN expectations.holds IS 'whether it holds in every cell';
COMMENT ON COLUMN expectations.cells IS 'cells it was checked in';
COMMENT ON COLUMN expectations.broken IS 'cells where it does not hold';
COMMENT ON COLUMN expectations."left" IS 'left side of the comparison at the example';
COMMENT ON COLUMN expectations."right" IS 'right side of the comparison at the example';
COMMENT ON COLUMN expectations.example IS 'the first cell where it is broken';

CREATE TABLE IF NOT EXISTS verification (
  run_id VARCHAR NOT NULL, model VARCHAR NOT NULL, "check" VARCHAR NOT NULL, subject VARCHAR NOT NULL, value DOUBLE, tolerance DOUBLE,
  ok BOOLEAN NOT NULL, detail VARCHAR NOT NULL
);
COMMENT ON TABLE verification IS 'what was checked of each model before its numbers were trusted';
COMMENT ON COLUMN verification.run_id IS 'the run';
COMMENT ON COLUMN verification.model IS 'name of the model';
COMMENT ON COLUMN verification."check" IS 'T1 to T7: see the reference of the language';
COMMENT ON COLUMN verification.subject IS 'what was checked: a site, an identity';
COMMENT ON COLUMN verification.value IS 'the largest difference found';
COMMENT ON COLUMN verification.tolerance IS 'the largest one allowed';
COMMENT ON COLUMN verification.ok IS 'whether it held';
COMMENT ON COLUMN verification.detail IS 'more in words';

CREATE TABLE IF NOT EXISTS diagnostics (run_id VARCHAR NOT NULL, code VARCHAR NOT NULL, severity VARCHAR NOT NULL, headline VARCHAR NOT NULL, text VARCHAR NOT NULL);
COMMENT ON TABLE diagnostics IS 'warnings and errors that were shown during a run';
COMMENT ON COLUMN diagnostics.run_id IS 'the run';
COMMENT ON COLUMN diagnostics.code IS 'GBnnn: each has a page of its own';
COMMENT ON COLUMN diagnostics.severity IS 'error or warning';
COMMENT ON COLUMN diagnostics.headline IS 'its first line';
COMMENT ON COLUMN diagnostics.text IS 'as it was shown';

CREATE TABLE IF NOT EXISTS readings (
  run_id VARCHAR NOT NULL, flush INTEGER NOT NULL, reading VARCHAR NOT NULL, n INTEGER NOT NULL, width INTEGER NOT NULL,
  keys BLOB NOT NULL, numbers BLOB NOT NULL
);
COMMENT ON TABLE readings IS 'what single cells gave on single items, by content: later runs read it instead of computing it again';
COMMENT ON COLUMN readings.run_id IS 'the run that computed it';
COMMENT ON COLUMN readings.flush IS 'the transaction that wrote it';
COMMENT ON COLUMN readings.reading IS 'content key of model, run variant and metric (or edit, for its receipt)';
COMMENT ON COLUMN readings.n IS 'how many cells on items';
COMMENT ON COLUMN readings.width IS 'numbers for each';
COMMENT ON COLUMN readings.keys IS 'n content keys of cells on items, 16 bytes each';
COMMENT ON COLUMN readings.numbers IS 'n times width float32, little endian; NaN where a cell has no value';

CREATE TABLE IF NOT EXISTS contexts (
  run_id VARCHAR NOT NULL, flush INTEGER NOT NULL, key VARCHAR NOT NULL, experiment VARCHAR NOT NULL, model VARCHAR NOT NULL,
  data VARCHAR NOT NULL, reused_from VARCHAR, failed BOOLEAN NOT NULL, headlines JSON NOT NULL
);
COMMENT ON TABLE contexts IS 'what a run has finished: one row per experiment (or `keep` conditions), model and data set';
COMMENT ON COLUMN contexts.run_id IS 'the run';
COMMENT ON COLUMN contexts.flush IS 'the transaction that wrote it';
COMMENT ON COLUMN contexts.key IS 'content key: equal keys have equal rows in every table';
COMMENT ON COLUMN contexts.experiment IS 'name of the experiment';
COMMENT ON COLUMN contexts.model IS 'name of the model';
COMMENT ON COLUMN contexts.data IS 'name of the data set';
COMMENT ON COLUMN contexts.reused_from IS 'the run whose rows it shows; NULL where they were computed';
COMMENT ON COLUMN contexts.failed IS 'whether an `expect` is broken';
COMMENT ON COLUMN contexts.headlines IS 'what the command line said of it';

CREATE OR REPLACE VIEW run_list AS
  SELECT r.run_id, r.file, coalesce(e.status, 'started') AS status, r.started, e.finished, e.seconds, r.glassbox, r.command
  FROM main.runs r LEFT JOIN main.run_ends e ON e.run_id = r.run_id ORDER BY r.run_id;
COMMENT ON VIEW run_list IS 'all runs with how they ended';
COMMENT ON COLUMN run_list.run_id IS 'UUID of version 7: sorts by time';
COMMENT ON COLUMN run_list.file IS 'absolute path of the .gbx file';
COMMENT ON COLUMN run_list.status IS 'complete, failed, incomplete, interrupted, or started: under way, or killed';
COMMENT ON COLUMN run_list.started IS 'when it started, in UTC';
COMMENT ON COLUMN run_list.finished IS 'when it ended, in UTC';
COMMENT ON COLUMN run_list.seconds IS 'seconds from start to end';
COMMENT ON COLUMN run_list.glassbox IS 'version of Glassbox';
COMMENT ON COLUMN run_list.command IS 'the command line';

CREATE OR REPLACE VIEW measurements AS
  SELECT s.run_id, s.experiment, s.measure, s.model, s.data, r.* EXCLUDE (series)
  FROM main.value_rows r JOIN main.series s ON s.series = r.series;
COMMENT ON VIEW measurements IS 'every number of every run: one row per measure, model, data set, item and cell';
COMMENT ON COLUMN measurements.run_id IS 'the run';
COMMENT ON COLUMN measurements.experiment IS 'name of the experiment';
COMMENT ON COLUMN measurements.measure IS 'name of the measure';
COMMENT ON COLUMN measurements.model IS 'name of the model';
COMMENT ON COLUMN measurements.data IS 'name of the data set';
COMMENT ON COLUMN measurements.item IS 'number of the item; NULL for a measure without items';
COMMENT ON COLUMN measurements.layer IS 'layer, from 0';
COMMENT ON COLUMN measurements.head IS 'query head, from 0';
COMMENT ON COLUMN measurements.pos IS 'token index; NULL where a whole span is meant';
COMMENT ON COLUMN measurements.pos_label IS 'span label at that position, such as s2';
COMMENT ON COLUMN measurements.numbers IS 'variables without a column of their own, in the order of the binders (see measures.variables): those that are numbers';
COMMENT ON COLUMN measurements.texts IS 'the same: those that are texts, or the labels of positions';
COMMENT ON COLUMN measurements.value IS 'the number; NULL where missing, and for a ratio where the denominator is near 0';
COMMENT ON COLUMN measurements.num IS 'numerator of a ratio';
COMMENT ON COLUMN measurements.den IS 'denominator of a ratio';
COMMENT ON COLUMN measurements.text IS 'the text of a `text` measure';

CREATE OR REPLACE VIEW lens AS
  SELECT s.run_id, s.experiment, s.measure, s.model, s.data, r.* EXCLUDE (series)
  FROM main.top_rows r JOIN main.series s ON s.series = r.series;
COMMENT ON VIEW lens IS 'the most likely tokens of every `top` measure of every run, one row per rank';
COMMENT ON COLUMN lens.run_id IS 'the run';
COMMENT ON COLUMN lens.experiment IS 'name of the experiment';
COMMENT ON COLUMN lens.measure IS 'name of the measure';
COMMENT ON COLUMN lens.model IS 'name of the model';
COMMENT ON COLUMN lens.data IS 'name of the data set';
COMMENT ON COLUMN lens.item IS 'number of the item; NULL for a measure without items';
COMMENT ON COLUMN lens.layer IS 'layer, from 0';
COMMENT ON COLUMN lens.head IS 'query head, from 0';
COMMENT ON COLUMN lens.pos IS 'token index; NULL where a whole span is meant';
COMMENT ON COLUMN lens.pos_label IS 'span label at that position, such as s2';
COMMENT ON COLUMN lens.numbers IS 'variables without a column of their own, in the order of the binders (see measures.variables): those that are numbers';
COMMENT ON COLUMN lens.texts IS 'the same: those that are texts, or the labels of positions';
COMMENT ON COLUMN lens.value IS 'the probability';
COMMENT ON COLUMN lens.rank IS '1 is the most likely';
COMMENT ON COLUMN lens.token_id IS 'number in the vocabulary of the model';
COMMENT ON COLUMN lens.token IS 'its text';
COMMENT ON COLUMN lens.logit IS 'its logit';
COMMENT ON COLUMN lens.prob IS 'its probability, 0 to 1';

CREATE OR REPLACE VIEW about AS
  SELECT c.schema_name AS "schema", c.table_name AS name, c.column_name AS "column", c.data_type AS type, c.comment AS meaning
  FROM duckdb_columns() c WHERE NOT c.internal AND c.database_name = current_database()
  ORDER BY c.schema_name, c.table_name, c.column_index;
COMMENT ON VIEW about IS 'every table and view of this file, column by column, with what it holds';
COMMENT ON COLUMN about."schema" IS 'main, data, all_runs, or the name of an experiment';
COMMENT ON COLUMN about.name IS 'name of the table or view';
COMMENT ON COLUMN about."column" IS 'name of the column';
COMMENT ON COLUMN about.type IS 'its type';
COMMENT ON COLUMN about.meaning IS 'what it holds';
