package sqltext

import "testing"

// texts lists, for one dialect, texts by their class. Each file of tests has some.
type texts map[Class][]string

func (want texts) check(t *testing.T, dialects ...Dialect) {
	t.Helper()
	for _, d := range dialects {
		for class, queries := range want {
			for _, q := range queries {
				if got := Classify(d, q).Class; got != class {
					t.Errorf("%v: %q is %v, want %v", d, q, got, class)
				}
			}
		}
	}
}

func TestWhatEveryDialectAgreesOn(t *testing.T) {
	texts{
		Batch: {
			"INSERT INTO t VALUES (1)",
			"insert into t (a, b) values (1, 'x')",
			"InSeRt InTo t DEFAULT VALUES",
			"INSERT INTO t SELECT * FROM u",
			"INSERT INTO t (a) VALUES (1), (2), (3)",
			"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 2",
			"INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING",
			"INSERT INTO t (a) VALUES (1) RETURNING id",
			"INSERT INTO s.t (a) VALUES (1)",
			"UPDATE t SET a = 1",
			"UPDATE t SET a = CASE WHEN b THEN 1 ELSE 2 END WHERE id = 3",
			"UPDATE t SET a = (SELECT max(a) FROM u) WHERE id IN (1, 2)",
			"DELETE FROM t",
			"DELETE FROM t WHERE a = 'it''s; fine'",
			"WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
			"WITH a (x, y) AS (SELECT 1, 2), b AS (SELECT 3) UPDATE t SET a = 1",
			"WITH RECURSIVE a (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM a) DELETE FROM t",
			"WITH a AS MATERIALIZED (SELECT 1) DELETE FROM t",
			"WITH a AS NOT MATERIALIZED (SELECT ((1))) DELETE FROM t",
			"WITH \"a\" AS (SELECT ')') DELETE FROM t",
			"WITH a AS (WITH b AS (SELECT 1) SELECT * FROM b) DELETE FROM t",

			" \t\r\n\fDELETE FROM t \n",
			"DELETE FROM t;",
			"DELETE FROM t ; \n\t ",
			"-- first\nDELETE FROM t",
			"/* first; */ DELETE FROM t",
			"/**/DELETE/**/FROM/*;*/t/***/",
			"DELETE FROM t -- last",
			"DELETE FROM t -- last; really\n",
			"DELETE FROM t /* last */",
			"DELETE FROM t /* last */;",
			"DELETE FROM t -- ; \n ;",
			"DELETE FROM t WHERE a = ';' AND \";\" = '-- /*'",
			"DELETE FROM t WHERE a = 1 - -1 AND b = 4 / 2 * 3",
			"DELETE FROM t WHERE a = .5 OR a = 5. OR a = 1.5e-10 OR a = 1E+3 OR a = 0xFf",
			"DELETE FROM t WHERE a = x'00ff' OR a = X'AB'",
			"DELETE FROM t WHERE a = ''",
			"DELETE FROM t WHERE a = ''''",
			"DELETE FROM tà WHERE é = 'ü' OR \"日本\" = '本; 日'",
			"DELETE FROM t$1",
			"UPDATE \"SET\" SET \"begin\" = 1 WHERE \"commit\" = 2",

			// Names of denied functions that are no calls.
			"UPDATE changes SET changes = changes + 1 WHERE lastval = 1",
			"INSERT INTO changes (a, b) VALUES (1, 2)",
			"INSERT INTO main.changes (a, b) VALUES (1, 2)",
			"INSERT INTO \"changes\" (a) SELECT changes FROM t",
			"WITH changes (a) AS (SELECT 1) INSERT INTO t SELECT a FROM changes",
			"WITH a AS (SELECT 1), changes(a) AS (SELECT 1) DELETE FROM t",
			"DELETE FROM t WHERE a = 'changes()'",
			"DELETE FROM t -- changes()", "DELETE FROM t WHERE \"x\"\"changes\"(1) = 1",
			"DELETE FROM t WHERE changes_(1) = 2 AND xchanges(1) = 2 AND row_counter(1) = 1",
			"INSERT INTO t VALUES (nextval('s'))",
			"DELETE FROM t WHERE a OR b",
			"DELETE FROM t WHERE a OR \"rollback\"",
		},
		Read: {
			"SELECT 1",
			"select * from t where a = 'x' -- done",
			"SELECT 1;",
			"SELECT 1; \n",
			"SELECT (SELECT max(a) FROM t), \"into\" FROM (SELECT 1) x",
			"VALUES (1), (2)",
			"WITH a AS (SELECT 1) SELECT * FROM a",
			"WITH a AS (SELECT 1) VALUES (2)",
			"WITH RECURSIVE a AS (SELECT 1), b AS (SELECT 2) SELECT * FROM a, b",
			"SELECT changes(), lastval()",
			"SELECT 'FOR UPDATE' -- INTO",
			"SELECT * FROM t UNION ALL SELECT * FROM u ORDER BY 1 LIMIT 3",
		},
		Control: {
			"BEGIN", "begin;", "BEGIN TRANSACTION", "BEGIN IMMEDIATE", "COMMIT", "COMMIT;", "END", "ROLLBACK",
			"ROLLBACK TO s", "SAVEPOINT s", "RELEASE s", "RELEASE SAVEPOINT s", " -- x\n BEGIN", "/* x */COMMIT",
			";BEGIN", ";;; COMMIT", "BEGIN; -- note", "BEGIN; SELECT 1", "SELECT 1; COMMIT", "INSERT INTO t VALUES (1); END",
			"BEGIN; INSERT INTO t VALUES (1); COMMIT;", "DELETE FROM t;;ROLLBACK", "CREATE TABLE t (a); BEGIN",
			"nonsense; BEGIN", "(; BEGIN", "SELECT (1; COMMIT", "\uFEFFBEGIN", "\v BEGIN", "BEGIN\x00", "BEGIN 'unterminated",
		},
		Unknown: {
			"", " ", ";", ";;", "-- only a comment", "/* only */", "\x00", "\uFEFF",
			"nonsense", "INSERTS INTO t", "1", "'INSERT'", "\"INSERT\" INTO t", "?", "(", ")", "(SELECT 1)", "(DELETE FROM t)",
			"CREATE TABLE t (a int)", "CREATE TABLE temp (a int)", "CREATE UNIQUE INDEX i ON t (a)",
			"CREATE INDEX i ON t (temp.a)", "CREATE TABLE t (temp int, temporary int)", "CREATE VIEW v AS SELECT 1",
			"CREATE TABLE t AS SELECT * FROM temp.u", "CREATE TABLE s.temp (a int)",
			"DROP TABLE t", "ALTER TABLE t ADD a int", "TRUNCATE t", "VACUUM", "ANALYZE", "REINDEX t", "CALL f()", "DO 1",
			"GRANT SELECT ON t TO u", "COPY t FROM STDIN", "NOTIFY x", "SHOW x", "TABLE t",
			"DROP TABLE a; DROP TABLE b",
			"INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)",
			"INSERT INTO t VALUES (1);;", "INSERT INTO t VALUES (1); ;", "INSERT INTO t VALUES (1); -- note",
			"INSERT INTO t VALUES (1); /* note */", "SELECT 1; SELECT 2", "SELECT 1; -- note",
			";INSERT INTO t VALUES (1)", "; SELECT 1", "/**/;DELETE FROM t",
			"\uFEFFDELETE FROM t", "DELETE FROM t\uFEFF", "DELETE \uFEFF FROM t", "DELETE FROM t\x00", "DELETE FROM t WHERE a = '\x00'",
			"DELETE FROM t; \x00", "DELETE FROM t -- \x00",
			"DELETE FROM t WHERE a = 'x", "DELETE FROM t WHERE a = 'x''", "DELETE FROM \"t", "DELETE FROM t /* x", "DELETE FROM t /*/",
			"DELETE FROM t WHERE a = '\xff'", "DELETE FROM \xc3", "DELETE FROM t -- \x80",
			"DELETE FROM t\v", "DELETE FROM t\x01", "DELETE FROM t {", "DELETE FROM t WHERE a = \\'x\\'", "DELETE FROM t \x7f",
			"DELETE FROM t WHERE a = 1a", "DELETE FROM t WHERE a = 0x", "DELETE FROM t WHERE a = 1e", "DELETE FROM t WHERE a = 1$",
			"DELETE FROM t WHERE (a = 1", "DELETE FROM t WHERE a = 1)", "DELETE FROM t WHERE )a = 1(", "SELECT (1", "SELECT 1)",

			"WITH", "WITH a", "WITH a AS", "WITH a AS (", "WITH a AS (SELECT 1", "WITH a AS (SELECT 1)", "WITH a AS (SELECT 1),",
			"WITH a AS (SELECT 1) nonsense", "WITH a AS SELECT 1", "WITH a IS (SELECT 1) DELETE FROM t", "WITH a (b AS (SELECT 1) DELETE FROM t", "WITH a AS NOT (SELECT 1) DELETE FROM t",
			"WITH a AS (SELECT 1) b AS (SELECT 1) DELETE FROM t", "WITH 'x' AS (SELECT 1", "WITH (SELECT 1) DELETE FROM t",
			"WITH a AS (SELECT 1) CREATE TABLE t (a int)", "WITH a AS (SELECT 1) (SELECT 2)",

			"INSERT INTO t SELECT synchronous FROM pragma_synchronous", `UPDATE t SET v = (SELECT 1 FROM main."PRAGMA_Synchronous"('x'))`,
			"INSERT INTO t VALUES (last_insert_rowid())", "INSERT INTO t VALUES (LAST_INSERT_ROWID ( ))",
			"UPDATE t SET a = changes()", "UPDATE t SET a = changes /* x */ ()", "UPDATE t SET a = Changes -- x\n ()",
			"UPDATE t SET a = \"changes\"()", "UPDATE t SET a = main.\"CHANGES\" ()", "UPDATE t SET a = total_changes()",
			"INSERT INTO t SELECT changes()", "INSERT INTO t (a) VALUES (changes())", "INSERT INTO t VALUES (1, changes(), 2)",
			"INSERT INTO t VALUES (currval('s'), 1)", "INSERT INTO t VALUES (pg_catalog.currval('s'))", "DELETE FROM t WHERE a = lastval()",
			"INSERT INTO t VALUES (setval('s', 1))", "UPDATE t SET a = LAST_INSERT_ID(a + 1)", "UPDATE t SET a = ROW_COUNT()",
			"UPDATE t SET a = found_rows()", "UPDATE t SET a = pg_notify('c', 'x')", "UPDATE t SET a = dblink('a', 'b')",
			"UPDATE t SET a = dblink_exec('a', 'b')", "UPDATE t SET a = lo_create(0)", "UPDATE t SET a = lo_unlink(1)",
			"UPDATE t SET a = txid_current()", "UPDATE t SET a = txid_current_if_assigned()", "UPDATE t SET a = pg_current_xact_id()",
			"UPDATE t SET a = pg_current_xact_id_if_assigned()", "UPDATE t SET a = pg_export_snapshot()",
			"UPDATE t SET a = pg_advisory_xact_lock(1)", "UPDATE t SET a = pg_try_advisory_xact_lock_shared(1)",
			"WITH a AS (SELECT changes()) INSERT INTO t SELECT * FROM a",
			"WITH a AS (SELECT 1), b AS (SELECT lastval()), c AS (SELECT 1) INSERT INTO t SELECT * FROM a",
			"INSERT OR ROLLBACK INTO t VALUES (1)", "update or rollback t set a = 1", "INSERT OR/**/ROLLBACK INTO t VALUES (1)",

			"SELECT * INTO u FROM t", "SELECT a FROM t FOR UPDATE", "SELECT a FROM t FOR SHARE", "SELECT a FROM t FOR NO KEY UPDATE",
			"SELECT a FROM t for key share", "SELECT * FROM (SELECT a FROM t FOR UPDATE) x",
			"WITH a AS (SELECT 1) SELECT * INTO u FROM a", "WITH a AS (SELECT * FROM t FOR UPDATE) SELECT * FROM a",
			"WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a", "WITH a AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM a",
			"WITH a AS (SELECT 1), b AS MATERIALIZED (UPDATE t SET a = 1 RETURNING *) SELECT * FROM a",
			"WITH a AS (WITH b AS (SELECT 1) DELETE FROM t RETURNING *) SELECT * FROM a",
		},
	}.check(t, Generic, SQLite, Postgres)
}

func TestClassifySQLite(t *testing.T) {
	texts{
		Batch: {
			"REPLACE INTO t VALUES (1)", "WITH a AS (SELECT 1) REPLACE INTO t SELECT * FROM a", "INSERT OR REPLACE INTO t VALUES (1)",
			"INSERT OR IGNORE INTO t VALUES (1)", "INSERT OR FAIL INTO t VALUES (1)", "UPDATE OR ABORT t SET a = 1",
			"INSERT INTO t VALUES (?, ?1, ?23, :a, @a, $a, $a::b, $a::b(c), :a(;), @1)", "DELETE FROM t WHERE a=$a::b(c;d)",
			"DELETE FROM t WHERE a = 'C:\\'", "DELETE FROM t WHERE a = 'x\\' OR b = ';\\'", "DELETE FROM t WHERE \"a\\\" = 1",
			"DELETE FROM [t;u] WHERE [it's] = 1", "DELETE FROM `t;u` WHERE `a``;b` = 1", "DELETE FROM [a[b]",
			"DELETE FROM t /* not /* nested */", "DELETE FROM t /*! ; */", "DELETE FROM t --1\n", "DELETE FROM t -- a \r ; b",
			"UPDATE t SET a = a->'$.x' WHERE b ->> '$[0]' = 1", "DELETE FROM t WHERE CURRENT OF c", "DELETE FROM a$b$c",
			"DELETE FROM t WHERE a = 1_000 OR a = 0xf_f", "INSERT INTO temp.t VALUES (1)", "INSERT INTO temp VALUES (1)",
			"UPDATE t SET begin = 1, end = 2", "INSERT INTO [changes] (a) VALUES (1)", "INSERT INTO `main`.[changes] (a) VALUES (1)",
			"DELETE FROM t WHERE a = E'\\'", "DELETE FROM t WHERE a IN (SELECT value FROM json_each(?))",
		},
		Read: {
			"EXPLAIN SELECT 1", "EXPLAIN QUERY PLAN DELETE FROM t", "explain insert into t values (changes())", "EXPLAIN BEGIN", "EXPLAIN SELECT load_extension('x')", "EXPLAIN DROP TABLE t;",
			"EXPLAIN CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END", "EXPLAIN PRAGMA user_version", "EXPLAIN CREATE TEMP TABLE t (a)",
			"PRAGMA table_info(t)", "PRAGMA table_info = t", "PRAGMA main.table_xinfo('t')", "pragma \"index_list\" ( \"t\" ) ;",
			"PRAGMA foreign_keys", "PRAGMA main.journal_mode;", "PRAGMA user_version", "PRAGMA integrity_check", "PRAGMA integrity_check(10)",
			"PRAGMA quick_check", "PRAGMA foreign_key_check(t)", "PRAGMA database_list", "PRAGMA compile_options", "PRAGMA data_version",
			"PRAGMA freelist_count", "PRAGMA main.page_count", "PRAGMA Table_List", "PRAGMA busy_timeout", "PRAGMA schema_version",
			"PRAGMA encoding", "PRAGMA page_size", "PRAGMA auto_vacuum", "PRAGMA temp.page_size",
			"SELECT * FROM pragma_table_info('t')", "SELECT @a, $b, :c", "SELECT [into], `for` FROM t", "SELECT last_insert_rowid()",
			"SELECT replace(a, 'b', 'c') FROM t", "SELECT (replace(a, 'b', 'c')) FROM t",
		},
		Session: {
			"ATTACH 'x' AS y", "ATTACH DATABASE ? AS y", "DETACH y", "PRAGMA foreign_keys = ON", "PRAGMA foreign_keys=1;", "PRAGMA main.foreign_keys(0)",
			"PRAGMA cache_size = -2000", "PRAGMA busy_timeout=5000", "PRAGMA journal_mode = MEMORY", "PRAGMA journal_mode=truncate", "PRAGMA main.journal_mode(off)",
			"PRAGMA max_page_count = 3", "PRAGMA query_only(1)", "PRAGMA temp_store = 'memory'", "PRAGMA schema_version = 3", "PRAGMA case_sensitive_like = 1",
			"PRAGMA invented = 1", "PRAGMA key = 'secret'", "PRAGMA temp.user_version = 3", "PRAGMA a b", "PRAGMA user_version = 1 2", "PRAGMA user_version(1", "PRAGMA",
			"EXPLAIN PRAGMA foreign_keys = 0", "PRAGMA foreign_keys = 0; BEGIN", "BEGIN; PRAGMA foreign_keys = 0; COMMIT", "SELECT 1; ATTACH 'x' AS y",
			"PRAGMA user_version; PRAGMA cache_size = 3", "\uFEFFPRAGMA foreign_keys = 0", "PRAGMA foreign_keys = '",
			"CREATE TEMP TABLE t (a)", "create temporary view v as select 1", "CREATE TEMP TABLE IF NOT EXISTS t (a)", "CREATE TABLE temp.t (a)",
			"CREATE TABLE IF NOT EXISTS Temp . t (a)", "CREATE TABLE \"temp\".t (a)", "CREATE TABLE [temp].t (a)", "CREATE TABLE `temp`.t (a)", "CREATE TABLE 'temp'.t (a)",
			"CREATE VIRTUAL TABLE temp.t USING fts5 (a)", "CREATE INDEX temp.i ON t (a)", "CREATE UNIQUE INDEX IF NOT EXISTS temp.i ON t (a)", "CREATE VIEW temp.v AS SELECT 1",
			"CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM u; END", "CREATE TRIGGER temp.r AFTER INSERT ON t BEGIN DELETE FROM u; END;",
			"CREATE TABLE a (b); CREATE TEMP TABLE c (d)", "CREATE TEMP TABLE t AS SELECT 1; BEGIN", "CREATE \v TEMP TABLE t (a)", "CREATE \uFEFF TEMP TABLE t (a)", "SELECT load_extension('x')", "INSERT INTO t VALUES (load_extension('x'))",
		},
		Control: {
			"BEGIN EXCLUSIVE", "END TRANSACTION", "ROLLBACK TRANSACTION TO SAVEPOINT s",
			"CREATE TRIGGER r AFTER INSERT ON t BEGIN DELETE FROM u; END; BEGIN", "PRAGMA foreign_keys; COMMIT",
		},
		Unknown: {
			"PRAGMA invented", "PRAGMA user_version = 3", "PRAGMA user_version(3)", "PRAGMA application_id = 0x10", "PRAGMA main.user_version = -1",
			"PRAGMA journal_mode = WAL", "PRAGMA journal_mode('delete')", "PRAGMA main.journal_mode=\"wal\"", "PRAGMA wal_checkpoint", "PRAGMA wal_checkpoint(TRUNCATE)",
			"PRAGMA optimize", "PRAGMA optimize(0x10002)", "PRAGMA incremental_vacuum", "PRAGMA incremental_vacuum(10)", "PRAGMA page_size = 4096",
			"PRAGMA auto_vacuum = FULL", "PRAGMA encoding = 'UTF-8'", "PRAGMA user_version; -- note", "PRAGMA user_version; SELECT 1",
			"EXPLAIN", "EXPLAIN QUERY PLAN", "EXPLAIN SELECT 1; SELECT 2",
			"CREATE TRIGGER r AFTER INSERT ON t BEGIN INSERT INTO u VALUES (1); DELETE FROM v; END",
			"create trigger if not exists r before update of a on t when new.a > 1 begin update u set a = case when 1 then 2 end; end;",
			"CREATE TRIGGER begin AFTER INSERT ON t BEGIN SELECT RAISE(ROLLBACK, 'x'); END",
			"CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT load_extension('x'); END", "-- x\nCREATE /**/ TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END",
			"CREATE TABLE t (a, trigger)", "CREATE VIRTUAL TABLE t USING fts5 (a)",
			"MERGE INTO t USING u ON a = b", "SET a = 1", "START TRANSACTION", "USE x", "LISTEN x", "LOCK TABLES t", "PREPARE x", "LOAD x", "XA END 'x'",
			"DELETE FROM t WHERE a = #b", "DELETE FROM t WHERE a = $", "DELETE FROM t WHERE a = :", "DELETE FROM t WHERE a = @", "DELETE FROM t WHERE a = $a(b c)", "DELETE FROM t WHERE a = $a(b",
			"DELETE FROM [t", "DELETE FROM `t", "UPDATE t SET a = [changes](), b = 1", "UPDATE t SET a = `total_changes`()", "DELETE FROM t WHERE a = $tag$; $tag$",
			"INSERT INTO t VALUES (:a(b;c); BEGIN_)",
		},
	}.check(t, SQLite)
}

func TestClassifyPostgres(t *testing.T) {
	texts{
		Batch: {
			"MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN UPDATE SET b = 1 WHEN NOT MATCHED THEN INSERT VALUES (1)",
			"WITH a AS (SELECT 1) MERGE INTO t USING a ON true WHEN MATCHED THEN DELETE",
			"WITH a AS (DELETE FROM t RETURNING *) INSERT INTO u SELECT * FROM a",
			"INSERT INTO t VALUES ($1, $2::text, $10)", "INSERT INTO t VALUES (E'it\\'s; \\\\', e'\\'')", "INSERT INTO t VALUES ($$it's; $$, $a$ $$ ; $b$ $a$)",
			"INSERT INTO t VALUES ($é$;$é$)", "INSERT INTO t VALUES (U&'d!0061;' UESCAPE '!', N'x', B'01', X'ff')", "DELETE FROM t WHERE U&\"a;b\" = 1",
			"DELETE FROM t /* a /* nested; */ ; */", "DELETE FROM t /* a **//* b */", "DELETE FROM a$b$c WHERE d$$e = 1", "DELETE FROM t --1\n",
			"DELETE FROM t WHERE a @> $1 AND b <@ $2 AND c <@d AND e @@ f AND x ?| y AND z #> '{a}' AND z #>> '{a,b}' = 'c' AND g @ h",
			"UPDATE t SET a[1] = 2, b = ARRAY[1,2], c = a[1:2]", "DELETE FROM t WHERE a ? 'b'", "DELETE FROM ONLY t USING u WHERE a OPERATOR(pg_catalog.=) b",
			"DELETE FROM t WHERE \"a\\\" = 1", "UPDATE t SET begin = 1", "INSERT INTO t VALUES (E'a'\n'b')", "DELETE FROM t WHERE a = DATE'2020-01-01'",
			"INSERT INTO temp VALUES (1)", "DELETE FROM t -- a \r WHERE a = 1", "INSERT INTO t AS x (a) VALUES (1)", "DELETE FROM t WHERE current = 1",
		},
		Read: {
			"SELECT $$INTO; $$", "SELECT currval('s'), lastval()", "SELECT a[1] FROM t", "SELECT substring(a FROM 1 FOR 2) FROM t", "SELECT * FROM f(a => 1)", "SELECT @ -5",
			"SELECT nextval('s')", "SELECT setval('s', 1)",
		},
		Control: {
			"START TRANSACTION", "START TRANSACTION ISOLATION LEVEL SERIALIZABLE", "ABORT", "ABORT WORK", "PREPARE TRANSACTION 'x'", "COMMIT PREPARED 'x'", "COMMIT AND CHAIN", "ROLLBACK PREPARED 'x'",
			"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; BEGIN", "DO $$ BEGIN END $$; BEGIN", "SELECT 1 -- x\r; BEGIN",
			"DELETE FROM t WHERE a = 'x\\'; COMMIT; --'", "DELETE FROM t WHERE a = 'x\\\\'; COMMIT",
		},
		Session: {
			"SET a = 1", "set local statement_timeout = 50", "SET TRANSACTION READ ONLY", "SET CONSTRAINTS ALL IMMEDIATE", "RESET ALL", "LISTEN c", "UNLISTEN *", "DISCARD ALL", "DECLARE c CURSOR FOR SELECT 1",
			"PREPARE p AS SELECT 1", "EXECUTE p", "DEALLOCATE p", "LOAD 'x'", "CREATE TEMP TABLE t (a int)", "CREATE TEMPORARY SEQUENCE s", "CREATE LOCAL TEMP TABLE t (a int)", "CREATE GLOBAL TEMPORARY TABLE t (a int)",
			"CREATE OR REPLACE TEMP VIEW v AS SELECT 1", "CREATE TABLE pg_temp.t (a int)", "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE TABLE \"pg_temp\".t (a int)",
			"SELECT * INTO TEMP u FROM t", "SELECT 1 INTO TEMPORARY TABLE u", "SELECT 1 INTO LOCAL TEMP u", "(SELECT 1 INTO TEMP u)", "WITH a AS (SELECT 1) SELECT * INTO TEMP u FROM a", "SELECT 1 INTO pg_temp.u",
			"SELECT set_config('a', 'b', false)", "SELECT pg_advisory_lock(1)", "SELECT pg_catalog.pg_try_advisory_lock(1)", "SELECT pg_advisory_unlock_all()", "SELECT \"pg_advisory_lock\" (1)", "SELECT setseed(0.5)",
			"SELECT dblink_connect('a', 'b')", "INSERT INTO t SELECT pg_advisory_lock(1)", "SELECT 1; SET a = 1", "BEGIN; SET LOCAL a = 1; COMMIT", "EXPLAIN ANALYZE SELECT set_config('a', 'b', false)",
			"UPDATE t SET a = 'x\\'; SET b = 1; --'", "CREATE FUNCTION f() RETURNS int AS 'it\\'s; SET' LANGUAGE sql", "UPDATE t SET a = 'x\\', b = set_config('a', 'b', false) -- '",
		},
		Unknown: {
			"REPLACE INTO t VALUES (1)", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE DELETE FROM t", "LOCK TABLE t", "PRAGMA foreign_keys", "PRAGMA foreign_keys = 1", "ATTACH 'x' AS y", "USE x",
			"DELETE FROM t WHERE a = 'C:\\x'", "INSERT INTO t VALUES (U&'\\0061')", "DELETE FROM t WHERE U&\"\\0061\" = 1", "UPDATE t SET a = U&\"ch\\0061nges\"()", "INSERT INTO t VALUES (E'a'\n'\\'')",
			"UPDATE t SET a = 1 WHERE CURRENT OF c", "DELETE FROM t WHERE current /**/ of c", "DELETE FROM t WHERE a = @b", "UPDATE t SET a=@\"b\"",
			"DELETE FROM t WHERE a = $$x", "DELETE FROM t WHERE a = $a$x$b$", "DELETE FROM t WHERE a = $a", "DELETE FROM t WHERE a = $1x", "DELETE FROM t /* a /* b */", "DELETE FROM t -- a \r; b",
			"SELECT pg_notify('a', 'b') INTO u", "DO $$ BEGIN PERFORM 1; COMMIT; END $$", "DO $x$ SET a = 1; $x$;",
			"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SET a = 1; SELECT 1; $$", "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
			"CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); END;", "CREATE FUNCTION f() RETURNS int SET search_path = x AS 'it\\'s' LANGUAGE sql",
			"CREATE TRIGGER r AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()", "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM u; DELETE FROM v)", "CREATE UNLOGGED TABLE t (a int)",
			"CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE DATABASE d", "ALTER SYSTEM SET a = 1", "ALTER ROLE r SET a = 1", "REFRESH MATERIALIZED VIEW v", "MOVE 1 IN c",
			"DELETE FROM t WHERE a=1$$;$$", "DELETE FROM t WHERE a=@b",
			"WITH a AS (SELECT 1) SEARCH DEPTH FIRST BY x SET y DELETE FROM t",
		},
	}.check(t, Postgres)
}

func TestClassifyGeneric(t *testing.T) {
	texts{
		Batch: {
			"REPLACE INTO t VALUES (1)", "MERGE INTO t USING u ON (t.a = u.a) WHEN MATCHED THEN UPDATE SET b = 1 WHEN NOT MATCHED THEN INSERT (a) VALUES (1)",
			"INSERT INTO t (a) VALUES (?) ON DUPLICATE KEY UPDATE a = a + 1", "INSERT IGNORE INTO temp VALUES (1)", "INSERT INTO t SET a = 1", "INSERT INTO t VALUES ($1, :a, :1)", "WITH a AS (SELECT 1) UPDATE t SET a = 1",
			"INSERT INTO t VALUES (N'x', E'y', DATE'2020-01-01', _utf8'x')", "DELETE FROM t -- a\r\n WHERE b = 1", "DELETE FROM t --", "INSERT INTO t SELECT a FROM u FOR UPDATE", "DELETE FROM t /*+ hint */",
		},
		Read: {"SELECT @@version", "SELECT @a", "PRAGMA user_version"},
		Control: {
			"START TRANSACTION", "XA START 'x'", "SAVE TRANSACTION s", "ABORT", "PREPARE TRANSACTION 'x'",
			"INSERT INTO t VALUES (1) COMMIT", "SELECT 1 BEGIN TRAN", "DELETE FROM t ROLLBACK TRANSACTION", "SELECT 'a\\'; BEGIN; -- '", "SELECT `a; COMMIT`", "/*! BEGIN */", "DELETE FROM t # ; \n COMMIT; ROLLBACK",
		},
		Session: {
			"SET a = 1", "SET @a = 1", "SET autocommit = 0", "USE x", "LOCK TABLES t WRITE", "UNLOCK TABLES", "HANDLER t OPEN", "FLUSH TABLES WITH READ LOCK", "GET DIAGNOSTICS @a = ROW_COUNT", "PREPARE p FROM 'x'", "EXECUTE p",
			"ATTACH 'x' AS y", "PRAGMA foreign_keys = 1", "LOAD 'x'", "ALTER SESSION SET a = 1", "CREATE TEMPORARY TABLE t (a int)", "CREATE OR REPLACE TEMPORARY TABLE t (a int)", "CREATE TABLE #t (a int)", "SELECT 1 INTO #t",
			"SELECT @a := 1", "SELECT 1 INTO @a", "UPDATE t SET a = (@b := 1)", "CALL p(@a)", "SELECT GET_LOCK('a', 1)", "DO RELEASE_LOCK('a')", "INSERT INTO t VALUES (GET_LOCK('a\\'', 1))",
			"/*!40101 SET NAMES utf8 */", "/*!40101 SET NAMES utf8 */;", "/*M! SET a = 1 */", "SELECT 'a\\'; SET b = 1; -- '", "DELETE FROM t # ;\n; USE x", "SELECT 1 -- a\r; SET b = 1", "-- a\rSET b = 1\nDELETE FROM t WHERE a = '\xff'", "/* /* */ SET a = 1 */ DELETE FROM t",
		},
		Unknown: {
			"DELETE FROM t WHERE a = 'x\\'", "DELETE FROM t WHERE a = \"x\\\\\"", "DELETE FROM `t`", "DELETE FROM [t]", "DELETE FROM t # x", "DELETE FROM t /*! x */", "DELETE FROM t /* a /* b */",
			"DELETE FROM t WHERE a = $$x$$", "DELETE FROM t WHERE a = $x$x$x$", "DELETE FROM t WHERE a = $a", "DELETE FROM t WHERE a = $1$", "DELETE FROM t --1\n", "DELETE FROM t -- a\r WHERE b = 1",
			"DELETE FROM t WHERE a = q'[it's]'", "DELETE FROM t WHERE a = q'['x']'", "DELETE FROM t WHERE a = @b", "DELETE FROM t WHERE a = @@b", "DELETE FROM t WHERE a @> b", "DELETE FROM t WHERE CURRENT OF c", "INSERT INTO t VALUES (SCOPE_IDENTITY())",
			"UPDATE `t` SET a = 1;", "UPDATE t SET a = 'it\\'s; ok'", "SELECT `a` FROM t", "SELECT 'a\\b'", "LOAD DATA INFILE 'x' INTO TABLE t", "SELECT a FROM t LOCK IN SHARE MODE", "UPDATE STATISTICS t", "EXPLAIN SELECT 1",
			"INSERT INTO t VALUES (1) INSERT INTO t VALUES (2)", "DELETE FROM t DELETE FROM u", "SELECT 1 DELETE FROM t", "INSERT INTO t EXEC p", "UPDATE t SET a = 1 DROP TABLE t", "DELETE FROM t UPDATE u SET a = 1", "EXEC p 1",
			"CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW BEGIN SET NEW.a = 1; IF 1 THEN SET NEW.b = 2; END IF; END", "CREATE DEFINER=`a`@`b` TRIGGER `r` BEFORE INSERT ON `t` FOR EACH ROW BEGIN SET @a = 1; END;",
			"CREATE DEFINER = CURRENT_USER() PROCEDURE p() BEGIN DECLARE a INT; START TRANSACTION; COMMIT; END", "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO BEGIN SET @a = 1; END", "ALTER PROCEDURE p AS BEGIN SET NOCOUNT ON; END",
			"CREATE OR REPLACE PACKAGE BODY p AS PROCEDURE q IS BEGIN COMMIT; END; END;", "CREATE FUNCTION f() RETURNS int BEGIN SELECT GET_LOCK('a', 1); RETURN 1; END",
		},
	}.check(t, Generic)
}

func TestWhatElseAStatementSays(t *testing.T) {
	for _, test := range []struct {
		dialect Dialect
		query   string
		want    Statement
	}{
		{SQLite, "INSERT INTO t VALUES (1)", Statement{Class: Batch, Write: true}},
		{SQLite, "INSERT INTO t VALUES (1) RETURNING id", Statement{Class: Batch, Write: true, Returning: true}},
		{SQLite, "INSERT INTO t VALUES (1)returning*", Statement{Class: Batch, Write: true, Returning: true}},
		{SQLite, "INSERT INTO t VALUES ('RETURNING') -- RETURNING", Statement{Class: Batch, Write: true}},
		{SQLite, "INSERT INTO \"returning\" VALUES (1) /* returning */", Statement{Class: Batch, Write: true}},
		{SQLite, "INSERT INTO [returning] VALUES (:returning)", Statement{Class: Batch, Write: true}},
		{SQLite, "SELECT 1; DELETE FROM t RETURNING a", Statement{Class: Unknown, Write: true, Returning: true, Schema: true}},
		{Postgres, "WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a", Statement{Class: Unknown, Write: true, Returning: true, Schema: true}},
		{Postgres, "INSERT INTO t VALUES ($$ RETURNING $$)", Statement{Class: Batch, Write: true}},
		{SQLite, "SELECT 1", Statement{Class: Read}},
		{Postgres, "SELECT lastval()", Statement{Class: Read}},
		{Postgres, "SELECT nextval('s')", Statement{Class: Read, Write: true}},
		{Postgres, "SELECT pg_notify('a', 'b')", Statement{Class: Read, Write: true}},
		{SQLite, "BEGIN", Statement{Class: Control, Write: true, Tentative: true}},
		{SQLite, "/* a; */ begin deferred -- a\n transaction ;", Statement{Class: Control, Write: true, Tentative: true}},
		{SQLite, "BEGIN IMMEDIATE", Statement{Class: Control, Write: true}},
		{SQLite, "BEGIN; COMMIT", Statement{Class: Control, Write: true}},
		{SQLite, "COMMIT", Statement{Class: Control, Write: true, Tentative: true}},
		{SQLite, "ROLLBACK", Statement{Class: Control, Write: true, Tentative: true}},
		{SQLite, "ROLLBACK TO a", Statement{Class: Control, Write: true, Tentative: true, Savepoint: true}},
		{SQLite, "-- a\nSAVEPOINT a;", Statement{Class: Control, Write: true, Tentative: true, Savepoint: true}},
		{SQLite, "RELEASE a; DELETE FROM t", Statement{Class: Control, Write: true, Schema: true}},
		{SQLite, "BEGIN; SAVEPOINT a;", Statement{Class: Control, Write: true}},
		{SQLite, "BEGIN; CREATE TABLE t (a); COMMIT", Statement{Class: Control, Write: true, Schema: true}},
		{SQLite, "\uFEFFBEGIN", Statement{Class: Control, Write: true, Schema: true}},
		{SQLite, "CREATE TABLE t (a)", Statement{Class: Unknown, Write: true, Schema: true}},
		{SQLite, "PRAGMA foreign_keys = 1", Statement{Class: Session, Write: true, Schema: true, Sets: true, Pragma: true}},
		{SQLite, "PRAGMA y.foreign_keys = 1", Statement{Class: Session, Write: true, Schema: true, Pragma: true}},
		{SQLite, "PRAGMA journal_mode = WAL", Statement{Class: Unknown, Write: true, Schema: true, Sets: true, Pragma: true}},
		{SQLite, "PRAGMA foreign_keys", Statement{Class: Read, Pragma: true}},
		{SQLite, "", Statement{Class: Unknown, Write: true, Schema: true, Empty: true}},
	} {
		got := Classify(test.dialect, test.query)
		got.Why = 0 // it has a test of its own
		if got != test.want {
			t.Errorf("%v: %q is %+v, want %+v", test.dialect, test.query, got, test.want)
		}
	}
}

func TestClassifyingAllocatesNothing(t *testing.T) {
	for _, q := range benchmarks {
		if n := testing.AllocsPerRun(100, func() { Classify(SQLite, q.query) }); n != 0 {
			t.Errorf("%s: %v allocations", q.name, n)
		}
	}
}
