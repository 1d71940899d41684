package pgx_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/applog"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/require"
)

// logged returns what is logged until the test ends.
func logOf(t *testing.T) *bytes.Buffer {
	var log bytes.Buffer
	t.Setenv("GROUPCOMMIT_TEST_LOG", t.Name()) // refuses a test that runs beside others, which log too
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return &log
}

const (
	// author says who the caller is, for the triggers that ask.
	author = `CREATE FUNCTION author(who text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		IF who IS NOT NULL THEN PERFORM set_config('app.author', who, true); END IF;
		RETURN current_setting('app.author', true); END $$`
	// tally adds up in a table that lasts as long as the transaction.
	tally = `CREATE FUNCTION tally(n int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
		CREATE TEMP TABLE IF NOT EXISTS scratch (n int) ON COMMIT DROP;
		INSERT INTO scratch VALUES (n);
		RETURN (SELECT sum(s.n) FROM scratch s); END $$`
)

func signed(k int, who any) call {
	return call{"INSERT INTO rows (k, v) SELECT $1::bigint, author($2::text)", []any{k, who}}
}

func added(k, n int) call {
	return call{"INSERT INTO rows (k, v) SELECT $1::bigint, tally($2::int)", []any{k, n}}
}

func TestWhatAFunctionSetsForItsTransactionReachesNoNeighbour(t *testing.T) {
	for _, exec := range execModes {
		t.Run(exec, func(t *testing.T) {
			log := logOf(t)
			dsn := pgtest.DSN(t)
			for _, create := range []string{author, tally} {
				_, err := (&rig{T: t}).open("pgx", dsn).Exec(create)
				require.NoError(t, err)
			}
			r := setUpOn(t, dsn, []pgtest.DSNOption{pgtest.Param("default_query_exec_mode", exec)})
			r.good(r.together(signed(1, "alice"), signed(2, nil), added(3, 10), added(4, 100)))
			require.Equal(t, "1=alice 2= 3=10 4=100", r.value("SELECT string_agg(k || '=' || coalesce(v, ''), ' ' ORDER BY k) FROM rows"))
			st := r.stats()
			require.Equal(t, groupcommit.Autocommit, st.Mode)
			require.Equal(t, "functions that set something for their transaction: public.author, public.tally", st.Why)
			r.good(r.together(signed(5, "bob"), signed(6, nil)))
			applog.Wait()
			require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
			require.Contains(t, log.String(), "public.author, public.tally")
		})
	}
}

func TestAProgramThatAsksForTransactionsGetsThem(t *testing.T) {
	log := logOf(t)
	r := setUp(t, groupcommit.Mode(groupcommit.Transaction))
	r.exec(r.plain, author)
	r.good(r.together(logged(1), logged(2), logged(3)))
	require.Equal(t, "1", r.value("SELECT count(DISTINCT xmin::text) FROM log"))
	require.Equal(t, groupcommit.Transaction, r.stats().Mode)
	require.Equal(t, "option Mode", r.stats().Why)
	applog.Wait()
	require.Empty(t, log.String())
}

// functionsOf are bodies of functions, and whether they set something for their transaction.
var functionsOf = []struct {
	sets bool
	body string
}{
	{true, "BEGIN PERFORM set_config('a.b', 'c', true); END"},
	{true, "BEGIN PERFORM pg_catalog . SET_CONFIG('a.b', 'c', true); END"},
	{true, "BEGIN SET LOCAL a.b = 'c'; END"},
	{true, "begin\n\tset local a.b to c;\nend"},
	{true, "BEGIN SET a.b = 'c'; END"},
	{true, "BEGIN NULL;SET a.b TO c; END"},
	{true, "BEGIN IF true THEN SET a.b = 'c'; END IF; END"},
	{true, "BEGIN IF true THEN NULL; ELSE SET a.b = 'c'; END IF; END"},
	{true, "BEGIN LOOP SET a.b = 'c'; EXIT; END LOOP; END"},
	{true, "BEGIN -- who\n SET a.b = 'c'; END"},
	{true, "BEGIN /* who */ SET a.b = 'c'; END"},
	{true, "BEGIN SET /* who */ LOCAL a.b = 'c'; END"},
	{true, "BEGIN /* who */ SET a.b = 'c'; /* done **/ END"},
	{true, "BEGIN NULL; SET -- who\n a.b = 'c'; END"},
	{true, "BEGIN SET ROLE nobody; END"},
	{true, "BEGIN SET SESSION AUTHORIZATION nobody; END"},
	{true, "BEGIN SET TRANSACTION READ ONLY; END"},
	{true, "BEGIN SET CONSTRAINTS ALL DEFERRED; END"},
	{true, "BEGIN RESET ROLE; END"},
	{true, "BEGIN RESET a.b; END"},
	{true, "BEGIN EXECUTE 'SET a.b = 1'; END"},
	{true, "BEGIN EXECUTE 'SET LOCAL a.b = 1'; END"},
	{true, "BEGIN EXECUTE 'SET ' || quote_ident('a') || ' = 1'; END"},
	{true, "BEGIN EXECUTE format('set %I = %L', 'a.b', 'c'); END"},
	{true, "BEGIN EXECUTE $x$ SET a.b = 1 $x$; END"},
	{true, "BEGIN CREATE TEMP TABLE x (n int) ON COMMIT DROP; END"},
	{true, "BEGIN CREATE TEMPORARY TABLE x (n int); END"},
	{true, "BEGIN CREATE TEMP /* once */ TABLE x (n int); END"},
	{true, "BEGIN CREATE TABLE pg_temp.x (n int); END"},
	{true, "BEGIN EXECUTE 'SELECT 1 INTO TEMP x'; END"},
	{true, "BEGIN DISCARD TEMP; END"},

	{false, "BEGIN NULL; END"},
	{false, "BEGIN UPDATE rows SET v = 'x' WHERE k = 1; END"},
	{false, "BEGIN UPDATE rows\n\tSET v = 'x'\n\tWHERE k = 1; END"},
	{false, `BEGIN UPDATE "rows" SET v = 'x'; END`},
	{false, "BEGIN UPDATE rows -- all\n SET v = 'x'; END"},
	{false, "BEGIN UPDATE rows AS r SET v = 'x'; END"},
	{false, "BEGIN UPDATE users SET role = 'x', session = 'y', local = 1; END"},
	{false, "BEGIN INSERT INTO rows VALUES (1, 'x') ON CONFLICT (k) DO UPDATE SET v = 'y'; END"},
	{false, "BEGIN EXECUTE 'UPDATE ' || quote_ident('rows') || ' SET v = 1'; END"},
	{false, "BEGIN EXECUTE format('UPDATE %I SET %I = %L', 'rows', 'v', 'x'); END"},
	{false, "BEGIN PERFORM current_setting('a.b', true); END"},
	{false, "DECLARE temperature int; offset_ int; BEGIN temperature := 1; END"},
	{false, "BEGIN DELETE FROM rows; ALTER TABLE rows ALTER v SET DEFAULT 'x'; END"},
	{false, "BEGIN PERFORM pg_advisory_xact_lock(1); LOCK TABLE rows; END"},
}

func TestFunctionsThatSetSomethingAreFoundAsSoonAsTheyAreMade(t *testing.T) {
	logOf(t)
	r := setUp(t)
	mode := func() groupcommit.GroupMode {
		r.good(r.together(logged(1), logged(2)))
		return r.stats().Mode
	}
	require.Equal(t, groupcommit.Automatic, r.stats().Mode, "nobody has asked")
	require.Equal(t, groupcommit.Transaction, mode())
	for i, f := range functionsOf {
		want := groupcommit.Transaction
		if f.sets {
			want = groupcommit.Autocommit
		}
		r.exec(r.db, fmt.Sprintf("CREATE FUNCTION probe() RETURNS void LANGUAGE plpgsql AS $body$ %s $body$", f.body))
		require.Equal(t, want, mode(), "%d: %s", i, f.body)
		r.exec(r.db, "DROP FUNCTION probe")
	}
	require.Equal(t, groupcommit.Transaction, mode())
}

func TestFunctionsOfOtherKindsAreToldApart(t *testing.T) {
	logOf(t)
	r := setUp(t)
	for _, f := range []struct {
		sets   bool
		create string
	}{
		{true, "CREATE FUNCTION probe() RETURNS text LANGUAGE sql AS $$ SELECT set_config('a.b', 'c', true) $$"},
		{true, "CREATE FUNCTION probe() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT set_config('a.b', 'c', true); END"},
		{true, "CREATE PROCEDURE probe() LANGUAGE plpgsql AS $$ BEGIN SET LOCAL a.b = 'c'; END $$"},
		{false, "CREATE FUNCTION probe() RETURNS int LANGUAGE sql SET search_path = public SET a.b = 'c' AS $$ SELECT 1 $$"},
		{false, "CREATE FUNCTION probe() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END"},
		{false, "CREATE FUNCTION probe(text, text, boolean) RETURNS text LANGUAGE internal AS 'set_config_by_name'"},
	} {
		if strings.Contains(f.create, "ATOMIC") && r.value("SELECT current_setting('server_version_num')") < "140000" {
			continue
		}
		r.exec(r.db, f.create)
		r.good(r.together(logged(1), logged(2)))
		require.Equal(t, f.sets, r.stats().Mode == groupcommit.Autocommit, f.create)
		r.exec(r.db, "DROP ROUTINE probe")
	}
	// In a transaction, it is there when that is committed.
	for _, end := range []string{"ROLLBACK", "COMMIT"} {
		tx, err := r.db.Begin()
		require.NoError(t, err)
		_, err = tx.Exec(author)
		require.NoError(t, err)
		r.good(r.together(logged(1), logged(2))) // which asks, and does not see it
		require.Equal(t, groupcommit.Transaction, r.stats().Mode)
		if end == "COMMIT" {
			require.NoError(t, tx.Commit())
		} else {
			require.NoError(t, tx.Rollback())
		}
		r.good(r.together(logged(1), logged(2)))
		require.Equal(t, end == "COMMIT", r.stats().Mode == groupcommit.Autocommit, end)
	}
}

func TestAStricterIsolationIsToldAsTheReason(t *testing.T) {
	t.Parallel()
	r := setUpOn(t, pgtest.DSN(t), []pgtest.DSNOption{pgtest.Param("default_transaction_isolation", "serializable")})
	r.good(r.together(logged(1), logged(2)))
	require.Equal(t, groupcommit.Autocommit, r.stats().Mode)
	require.Equal(t, "default_transaction_isolation is serializable", r.stats().Why)
}

func TestAFunctionThatSomebodyElseMakesIsFoundInTime(t *testing.T) {
	logOf(t)
	r := setUp(t)
	r.good(r.together(logged(1), logged(2)))
	require.Equal(t, groupcommit.Transaction, r.stats().Mode)
	r.exec(r.plain, author)
	r.eventually("the function is found", func() bool {
		r.good(r.together(logged(1), logged(2)))
		return r.stats().Mode == groupcommit.Autocommit
	})
}

func TestADeferredTriggerSeesTheRowsAsTheyAreAtTheEndOfItsCall(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	for _, q := range []string{
		"CREATE TABLE lines (doc BIGINT, n INT)",
		"CREATE TABLE totals (doc BIGINT, n INT)",
		`CREATE FUNCTION add_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO totals SELECT NEW.doc, sum(n) FROM lines WHERE doc = NEW.doc; RETURN NULL; END $$`,
		"CREATE CONSTRAINT TRIGGER add_up AFTER INSERT ON lines DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION add_up()",
		`CREATE FUNCTION book(doc BIGINT) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO lines VALUES (doc, 1); INSERT INTO lines VALUES (doc, 2); RETURN 'booked'; END $$`,
	} {
		r.exec(r.plain, q)
	}
	book := func(k int) call { return call{"INSERT INTO rows (k, v) SELECT $1::bigint, book($1::bigint)", []any{k}} }
	r.exec(r.plain, book(1).query, 1)
	r.good(r.together(book(2), book(3), logged(1)))
	require.Equal(t, "1=3 1=3 2=3 2=3 3=3 3=3", r.value("SELECT string_agg(doc || '=' || n, ' ' ORDER BY doc, n) FROM totals"))
	require.Equal(t, "functions for which constraints must be checked late: public.add_up", r.stats().Why)
}

func TestAFunctionThatHandlesErrorsGetsNoneOfAConstraintThatIsDeferred(t *testing.T) {
	t.Parallel()
	r := setUp(t)
	r.good(r.together(logged(1), logged(2)))
	require.Empty(t, r.stats().Why)
	for _, q := range []string{
		`CREATE FUNCTION adopt(n BIGINT) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO children VALUES (n); INSERT INTO parents VALUES (n); RETURN 'adopted';
			EXCEPTION WHEN OTHERS THEN RETURN SQLERRM; END $$`,
		"CREATE TABLE parents (k BIGINT PRIMARY KEY)",
		"CREATE TABLE children (k BIGINT REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
	} {
		r.exec(r.db, q)
	}
	adopt := func(k int) call {
		return call{"INSERT INTO rows (k, v) SELECT $1::bigint, adopt($1::bigint)", []any{k}}
	}
	r.good(r.together(adopt(2), adopt(3), logged(3)))
	require.Equal(t, "2=adopted 3=adopted", r.value("SELECT string_agg(k || '=' || v, ' ' ORDER BY k) FROM rows"))
	require.Equal(t, "functions for which constraints must be checked late: public.adopt", r.stats().Why)
}
