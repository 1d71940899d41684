package sqlite3_test

import (
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// changes are the schema before, a change, and a statement that is another one after it. In each the statement was an error, or
// would be read otherwise, on a connection that knows the old schema.
var changes = map[string][3]string{
	"AUniqueIndexForOnConflict": {"CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)", "CREATE UNIQUE INDEX u ON t (name)",
		"INSERT INTO t (name) VALUES ('a') ON CONFLICT (name) DO NOTHING"},
	"AnotherTableOfTheName": {"CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)", "DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
		"INSERT INTO t (name) VALUES ('a') ON CONFLICT (name) DO NOTHING"},
	"AColumnByPosition": {"CREATE TABLE t (a)", "ALTER TABLE t ADD COLUMN b", "INSERT INTO t VALUES (1, 2)"},
	"AColumnByName":     {"CREATE TABLE t (a)", "ALTER TABLE t ADD COLUMN b", "INSERT INTO t (a, b) VALUES (1, 2)"},
	"ANewTable":         {"CREATE TABLE t (a)", "CREATE TABLE x (a)", "INSERT INTO x VALUES (1)"},
	"AViewThatIsATable": {"CREATE TABLE t (a); CREATE VIEW v AS SELECT a FROM t", "DROP VIEW v; CREATE TABLE v (a)", "INSERT INTO v VALUES (1)"},
	"AGeneratedColumn":  {"CREATE TABLE t (a, b AS (a + 1))", "ALTER TABLE t DROP COLUMN b; ALTER TABLE t ADD COLUMN b", "UPDATE t SET b = 2"},
	"IndexedBy":         {"CREATE TABLE t (a)", "CREATE INDEX i ON t (a)", "DELETE FROM t INDEXED BY i WHERE a = 1"},
	"ARowid":            {"CREATE TABLE t (a PRIMARY KEY) WITHOUT ROWID", "DROP TABLE t; CREATE TABLE t (a PRIMARY KEY)", "DELETE FROM t WHERE rowid = 1"},
	"AParentsKey":       {"CREATE TABLE p (a); CREATE TABLE t (a REFERENCES p (a))", "CREATE UNIQUE INDEX u ON p (a)", "INSERT INTO p VALUES (1)"},
	"InsteadOf": {"CREATE TABLE t (a); CREATE VIEW v AS SELECT a FROM t",
		"CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (new.a); END", "INSERT INTO v VALUES (5)"},
}

func TestAStatementKnowsTheSchemaOfToday(t *testing.T) {
	const warm = "INSERT INTO warm VALUES (1)"
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			for by, other := range map[string]string{"ByTheProgram": "", "ByAnotherProgram": "sqlite3", "ByAnotherDB": sqlite3.DriverName} {
				for _, arg := range []bool{false, true} {
					dsn := dsnOf(t, "&_fk=1")
					db := ours(t, dsn, "CREATE TABLE warm (a)", c[0])
					asGroup(t, db, calls(warm, warm)) // the connection of groups has read the schema
					exec(t, db, warm)
					changing := db
					if other != "" {
						changing = openDB(t, other, dsn)
					}
					exec(t, changing, c[1])
					query := &call{query: c[2]}
					if arg { // its statement is kept
						query = &call{query: c[2], args: []any{}}
						query.query = strings.NewReplacer("(1, 2)", "(1, ?)", "(1)", "(?)", "('a')", "(?)", "= 2", "= ?", "a = 1", "a = ?", "rowid = 1", "rowid = ?", "(5)", "(?)").Replace(c[2])
						query.args = []any{7}
					}
					query.exec(db)
					require.NoError(t, query.err, "alone, %s", by)
					if name != "AParentsKey" { // its key is unique
						asGroup(t, db, []*call{{query: warm}, query, {query: warm}})
						require.NoError(t, query.err, "in a group, %s", by)
					}
				}
			}
		})
	}
}

// In a group it is the first to meet the change.
func TestAGroupKnowsTheSchemaOfToday(t *testing.T) {
	const warm = "INSERT INTO warm VALUES (1)"
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			dsn := dsnOf(t, "&_fk=1")
			db := ours(t, dsn, "CREATE TABLE warm (a)", c[0])
			asGroup(t, db, calls(warm, warm))
			exec(t, openDB(t, "sqlite3", dsn), c[1])
			cs := calls(c[2], warm)
			asGroupBehind(t, ours(t, dsn), db, cs)
			for _, c := range cs {
				require.NoError(t, c.err)
			}
		})
	}
}

// The transaction reads the schema of the main database, and of no other.
func TestAGroupKnowsTheSchemaOfAnAttachedDatabaseOfToday(t *testing.T) {
	const warm = "INSERT INTO warm VALUES (1)"
	dsn, aux := dsnOf(t, ""), dsnOf(t, "")
	_, name := hookedDrivers(func(c *mattn.SQLiteConn) error {
		_, err := c.Exec("ATTACH '"+aux+"' AS aux", nil)
		return err
	})
	other := openDB(t, "sqlite3", aux, "CREATE TABLE t (a)")
	db := openDB(t, name, dsn, "CREATE TABLE warm (a)")
	asGroup(t, db, calls(warm, "INSERT INTO aux.t VALUES (1)"))
	exec(t, other, "ALTER TABLE t ADD COLUMN b")
	cs := calls(warm, "INSERT INTO aux.t VALUES (1, 2)")
	asGroupBehind(t, ours(t, dsn), db, cs)
	for _, c := range cs {
		require.NoError(t, c.err)
	}
}
