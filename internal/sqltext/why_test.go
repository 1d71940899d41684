package sqltext

import "testing"

func TestATextSaysWhatKeepsItFromBeingBatchable(t *testing.T) {
	for _, test := range []struct {
		dialect Dialect
		query   string
		want    Why
	}{
		{SQLite, "INSERT INTO t VALUES (1);", Nothing},
		{Postgres, "WITH a AS (SELECT 1) DELETE FROM t", Nothing},
		{SQLite, " -- nothing", Blank},
		{SQLite, ";", Blank},
		{Postgres, "SELECT 1", Reads},
		{SQLite, "PRAGMA foreign_keys", Reads},
		{SQLite, "DELETE FROM t; DELETE FROM u", Several},
		{SQLite, "DELETE FROM t; -- and no more", Several},
		{SQLite, "BEGIN; DELETE FROM t; COMMIT", Controls},
		{Postgres, "PREPARE TRANSACTION 'a'", Controls},
		{Postgres, "SET search_path = a", Changes},
		{Postgres, "DELETE FROM t WHERE a = set_config('a', 'b', false)", Changes},
		{SQLite, "CREATE TEMP TABLE t (a)", Changes},
		{SQLite, "INSERT INTO t VALUES (last_insert_rowid())", Asks},
		{Postgres, "INSERT INTO t VALUES (currval('s'))", Asks},
		{SQLite, "INSERT OR ROLLBACK INTO t VALUES (1)", Asks},
		{Postgres, "DELETE FROM t WHERE CURRENT OF c", Asks},
		{Generic, "INSERT INTO t VALUES (@a)", Asks},
		{SQLite, "DELETE FROM t WHERE (a", Unread},
		{SQLite, "DELETE FROM t WHERE a = 'b", Unread},
		{SQLite, "CREATE TABLE t (a)", OtherKind},
		{Postgres, "CALL f()", OtherKind},
		{Postgres, "VACUUM", OtherKind},
	} {
		if got := Classify(test.dialect, test.query).Why; got != test.want {
			t.Errorf("%v: %q is kept by %d, want %d", test.dialect, test.query, got, test.want)
		}
	}
}
