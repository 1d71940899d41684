package pgx_test

import "testing"

// A program as a differential test prints it.
func TestWhatATriggerRaisesAndWhatItSwallowsIsItsCallersOnly(t *testing.T) {
	t.Parallel()
	sameAnswers(t, diffProgram{schema: []string{
		`CREATE TABLE log (own INT, what TEXT)`,
		`CREATE TABLE t (k BIGINT PRIMARY KEY, own INT, a BIGINT, UNIQUE (own, a) DEFERRABLE INITIALLY DEFERRED)`,
		`INSERT INTO t VALUES (0, 0, 0), (1000, 1, 0)`,
		`CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.a = 4 THEN RAISE EXCEPTION 'not %', NEW.k USING ERRCODE = '55P03'; END IF;
			BEGIN PERFORM 1 / (NEW.a - 2); EXCEPTION WHEN OTHERS THEN INSERT INTO log VALUES (NEW.own, SQLSTATE); END;
			RETURN NEW; END $$`,
		`CREATE TRIGGER f BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()`,
	}, callers: [][]diffOp{
		{{"exec", call{`INSERT INTO t VALUES ($1, 0, 1), ($1 + 1, 0, 4)`, []any{int64(1)}}}, {"go", call{query: `UPDATE t SET a = a + 2 WHERE own = 0`}}},
		{{"go", call{`INSERT INTO t VALUES ($1, 1, 2)`, []any{int64(1001)}}}, {"exec", call{query: `INSERT INTO t VALUES (1002, 1, 2)`}}},
	}})
}
