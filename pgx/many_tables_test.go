package pgx_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

// A codedTable is a table t (k, n, up) that gets something by which a program could tell many rows from single ones.
type codedTable struct {
	before string // statements before, which change nothing for t
	code   string
	look   string // at what has come of it
	back   bool   // the name then means another table that may have many rows
}

// Functions are STABLE where they can be: they see the table as it was before the statement. A volatile one sees the rows before its own.
const (
	see = `CREATE TABLE seen (n BIGINT);
		CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO seen SELECT count(*) FROM t; RETURN NEW; END';`
	few = `CREATE FUNCTION few() RETURNS BOOL STABLE LANGUAGE sql AS 'SELECT count(*) < 8 FROM t';`

	whatWasSeen = "SELECT string_agg(n::text, ' ' ORDER BY n) FROM seen"
	theKeys     = "SELECT string_agg(k::text, ' ' ORDER BY k) FROM t"
	bothTables  = "SELECT (SELECT count(*) FROM old) || ' ' || (SELECT count(*) FROM t)"
)

var codedTables = map[string]codedTable{
	"a statement's trigger":     {see, "CREATE TRIGGER s AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION see()", whatWasSeen, false},
	"a trigger before each row": {see, "CREATE TRIGGER s BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION see()", whatWasSeen, false},
	"a trigger after each row":  {see, "CREATE TRIGGER s AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION see()", whatWasSeen, false},
	"a second trigger": {see + "CREATE UNIQUE INDEX ON t (k); CREATE TABLE other (up BIGINT REFERENCES t (k))",
		"CREATE TRIGGER s AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION see()", whatWasSeen, false},
	"a transition table": {see + `CREATE FUNCTION news() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO seen SELECT count(*) FROM news; RETURN NULL; END';`,
		"CREATE TRIGGER s AFTER INSERT ON t REFERENCING NEW TABLE AS news FOR EACH STATEMENT EXECUTE FUNCTION news()", whatWasSeen, false},
	"a rule": {see, "CREATE RULE s AS ON INSERT TO t DO ALSO INSERT INTO seen SELECT count(*) FROM t", whatWasSeen, false},
	"a default that reads the table": {"CREATE FUNCTION next_n() RETURNS BIGINT STABLE LANGUAGE sql AS 'SELECT coalesce(max(n), 0) + 1 FROM t';",
		"ALTER TABLE t ADD d BIGINT; ALTER TABLE t ALTER d SET DEFAULT next_n()", "SELECT string_agg(d::text, ' ' ORDER BY d) FROM t", false},
	"another default": {"CREATE FUNCTION next_n() RETURNS BIGINT STABLE LANGUAGE sql AS 'SELECT coalesce(max(n), 0) + 1 FROM t'; ALTER TABLE t ADD d BIGINT DEFAULT 0",
		"ALTER TABLE t ALTER d SET DEFAULT next_n()", "SELECT string_agg(d::text, ' ' ORDER BY d) FROM t", false},
	"a default of the statement's": {"", "ALTER TABLE t ADD at TIMESTAMPTZ; ALTER TABLE t ALTER at SET DEFAULT statement_timestamp()",
		"SELECT (count(DISTINCT at) >= 20)::text FROM t", false},
	"a check that reads the table": {few, "ALTER TABLE t ADD CHECK (few()) NOT VALID", theKeys, false},
	"a check by an operator": {few + "CREATE FUNCTION fewer(BIGINT, BIGINT) RETURNS BOOL LANGUAGE sql AS 'SELECT few()'; CREATE OPERATOR <<< (LEFTARG = BIGINT, RIGHTARG = BIGINT, FUNCTION = fewer)",
		"ALTER TABLE t ADD CHECK (k <<< 1) NOT VALID", theKeys, false},
	"a generated column": {"CREATE FUNCTION counted() RETURNS BIGINT IMMUTABLE LANGUAGE sql AS 'SELECT count(*) FROM t';",
		"ALTER TABLE t ADD d BIGINT GENERATED ALWAYS AS (counted()) STORED", "SELECT string_agg(d::text, ' ' ORDER BY d) FROM t", false},
	"a foreign key to itself": {"CREATE UNIQUE INDEX ON t (k);", "ALTER TABLE t ADD FOREIGN KEY (up) REFERENCES t (k)", theKeys, false},
	"row level security": {few + "CREATE ROLE tenant; GRANT ALL ON t TO tenant; ",
		"ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (true) WITH CHECK (few())", theKeys, false},
	"a whole that it is part of": {"", "CREATE TABLE whole (LIKE t) PARTITION BY RANGE (k); ALTER TABLE whole ATTACH PARTITION t FOR VALUES FROM (0) TO (10000)",
		"SELECT count(*)::text FROM whole", false},
	"an exclusion": {"", "ALTER TABLE t ADD EXCLUDE (k WITH =)", theKeys, false},
	"an index by a function": {"CREATE FUNCTION counted(BIGINT) RETURNS BIGINT IMMUTABLE LANGUAGE sql AS 'SELECT count(*) FROM public.t';",
		"CREATE INDEX by ON t (counted(k))", "SELECT count(*)::text FROM t", false},
	"a domain":            {few + "CREATE DOMAIN dom AS BIGINT CHECK (few());", "ALTER TABLE t ALTER n TYPE dom", theKeys, false},
	"a view in its place": {"", "ALTER TABLE t RENAME TO old; CREATE VIEW t AS SELECT * FROM old", bothTables, false},
	"a table with parts in its place": {see, `ALTER TABLE t RENAME TO old; CREATE TABLE t (LIKE old) PARTITION BY RANGE (k);
		CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10000); CREATE TRIGGER s AFTER INSERT ON t1 FOR EACH STATEMENT EXECUTE FUNCTION see()`, whatWasSeen, false},
	"another table in its place": {"", "ALTER TABLE t RENAME TO old; CREATE TABLE t (LIKE old)", bothTables, true},
	"a table before it in the path": {"", "CREATE SCHEMA program; CREATE TABLE program.t (LIKE public.t)",
		"SELECT (SELECT count(*) FROM public.t) || ' ' || (SELECT count(*) FROM program.t)", true},
}

// A table whose own code could tell many rows from single ones has single ones, from the start or from when that code is there.
func TestTablesWithCodeOfTheirOwnHaveSingleRows(t *testing.T) {
	t.Parallel()
	for name, c := range codedTables {
		for _, cached := range []bool{false, true} {
			t.Run(name+map[bool]string{false: ", from the start", true: ", while the texts are cached"}[cached], func(t *testing.T) {
				t.Parallel()
				c.tell(t, cached)
			})
		}
	}
}

const codedText = "INSERT INTO t (k, n, up) VALUES ($1, $2, $3)"

func (c codedTable) tell(t *testing.T, cached bool) {
	var first, calls []call
	for i := range 3 {
		first = append(first, call{codedText, []any{100 + i, 0, 100 + i}})
	}
	for i := range 12 {
		calls = append(calls, call{codedText, []any{i, i, i + (i+1)%3 - 1}})
	}
	plain := setUp(t)
	story := func(r *rig, all func(calls []call) []answer) (got []string) {
		c := c
		if strings.Contains(c.before, "tenant") {
			role := strings.ReplaceAll("tenant_"+r.value("SELECT current_database()"), "-", "_")
			if r == plain {
				role += "_plain"
			}
			c.before = strings.ReplaceAll(c.before, "tenant", role)
			r.Cleanup(func() { r.plain.Exec("DROP OWNED BY " + role); r.plain.Exec("DROP ROLE " + role) })
		}
		note := func(answers []answer) {
			for _, a := range answers {
				got = append(got, fmt.Sprint(a.err))
				require.True(t, a.err != nil || a.rows == 1 && a.rowsErr == nil || strings.Contains(c.code, "RULE"), "%+v", a)
			}
		}
		r.exec(r.plain, "CREATE TABLE public.t (k BIGINT, n BIGINT, up BIGINT); "+c.before)
		if cached {
			note(all(first))
			if r != plain {
				require.Equal(t, 1, r.usedMany(codedText), "the first three rows had one statement")
			}
		}
		r.exec(r.plain, c.code)
		note(all(calls))
		note(all(calls))
		return append(got, r.value(c.look))
	}
	path := pgtest.Param("search_path", "program,public")
	plain.plain = plain.open("pgx", pgtest.With(plain.dsn, path))
	plain.plain.SetMaxOpenConns(1)
	want := story(plain, func(calls []call) (got []answer) {
		for _, c := range calls {
			var a answer
			res, err := plain.plain.Exec(c.query, c.args...)
			if a.err = err; err == nil {
				a.rows, a.rowsErr = res.RowsAffected()
			}
			got = append(got, a)
		}
		return got
	})
	plain.exec(plain.plain, "DROP SCHEMA public CASCADE; DROP SCHEMA IF EXISTS program CASCADE; CREATE SCHEMA public")
	ours := setUpOn(t, plain.dsn, []pgtest.DSNOption{pgtest.Param("groupcommit_mode", "transaction"), path}, alwaysMany(), groupcommit.ManyRows(true))
	ours.plain = ours.open("pgx", pgtest.With(ours.dsn, path))
	require.Equal(t, want, story(ours, func(calls []call) []answer { return ours.together(calls...) }))
	used := ours.usedMany(codedText)
	switch {
	case c.back:
		require.Positive(t, used)
	case !cached:
		require.Zero(t, used)
	default:
		require.LessOrEqual(t, used, 3, "one more in each group was undone")
	}
}

// A new connection does not ask again why a table may have many rows, as long as the table is the same.
func TestAConnectionBelievesAnotherAboutTheSameTableOnly(t *testing.T) {
	t.Parallel()
	r := setUp(t, alwaysMany(), groupcommit.ManyRows(true), groupcommit.Mode(groupcommit.Transaction))
	anew := func() {
		r.db.SetMaxIdleConns(0)
		r.db.SetMaxIdleConns(2)
	}
	r.good(r.together(logs(3)...))
	require.Equal(t, 1, r.usedMany(logged(0).query))
	anew()
	r.good(r.together(logs(3)...))
	require.Positive(t, r.usedMany(logged(0).query))
	r.exec(r.plain, `CREATE TABLE seen (n BIGINT);
		CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO seen SELECT count(*) FROM log; RETURN NULL; END';
		CREATE TRIGGER s AFTER INSERT ON log FOR EACH STATEMENT EXECUTE FUNCTION see()`)
	anew()
	r.good(r.together(logs(3)...))
	require.Equal(t, "7 8 9", r.value(whatWasSeen))
}
