package pgtest

import (
	"database/sql"
	"flag"
	"strings"
	"testing"
)

// A legacy is what a test leaves in its database, THIS. ;; separates statements.
type legacy struct {
	what string
	do   string
	seen string // a query that counts it
	then fate
}

// A fate is what becomes of the database.
type fate int

const (
	renewed fate = iota // it is made as new, for the next test
	broken              // it cannot be emptied
	counted             // it is emptied, and the count of its catalogs' rows shows what is left
)

var legacies = []legacy{
	{"a table", "CREATE TABLE t (i int PRIMARY KEY) ;; INSERT INTO t VALUES (1)", "SELECT count(*) FROM pg_class WHERE relname LIKE 't%' AND oid >= 16384", renewed},
	{"a sequence", "CREATE SEQUENCE numbers", "SELECT count(*) FROM pg_sequence", renewed},
	{"a type", "CREATE TYPE mood AS ENUM ('good')", "SELECT count(*) FROM pg_enum", renewed},
	{"a function", "CREATE FUNCTION now() RETURNS int LANGUAGE sql AS 'SELECT 1'", "SELECT count(*) FROM pg_proc WHERE oid >= 16384", renewed},
	{"a view", "CREATE VIEW v AS SELECT 1 AS one", "SELECT count(*) FROM pg_views WHERE viewname = 'v'", renewed},
	{"default rights in public", "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC", "SELECT count(*) FROM pg_default_acl", renewed},
	{"a right on public", "GRANT CREATE ON SCHEMA public TO PUBLIC", "SELECT count(*) FROM aclexplode((SELECT nspacl FROM pg_namespace WHERE nspname = 'public')) WHERE grantee = 0 AND privilege_type = 'CREATE'", renewed},
	{"no public", "DROP SCHEMA public", "SELECT 1 - count(*) FROM pg_namespace WHERE nspname = 'public'", renewed},
	{"another public", "ALTER SCHEMA public RENAME TO others ;; CREATE SCHEMA public", "SELECT count(*) FROM pg_namespace WHERE nspname = 'others'", renewed},
	{"a temporary table", "CREATE TEMPORARY TABLE t (i int)", "SELECT count(*) FROM pg_class WHERE relname = 't'", renewed},
	{"a lock", "SELECT pg_advisory_lock(7)", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", renewed},
	{"an open transaction", "CREATE TABLE t (i int) ;; BEGIN ;; LOCK TABLE t", "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'", renewed},
	{"a schema", "CREATE SCHEMA tenant ;; CREATE TABLE tenant.t (i int)", "SELECT count(*) FROM pg_namespace WHERE nspname = 'tenant'", renewed},
	{"a schema with an event trigger's function", "CREATE SCHEMA tenant ;; CREATE FUNCTION tenant.refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END' ;; CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION tenant.refuse()", "SELECT count(*) FROM pg_event_trigger", broken},
	{"an extension less", "DROP EXTENSION plpgsql", "SELECT 1 - count(*) FROM pg_extension WHERE extname = 'plpgsql'", broken},
	{"another extension", "DROP EXTENSION plpgsql ;; CREATE EXTENSION plpgsql", "SELECT count(*) FROM pg_extension WHERE oid >= 16384", counted},
	{"an event trigger", "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$no$$; END' ;; CREATE EVENT TRIGGER refuse ON sql_drop EXECUTE FUNCTION refuse()", "SELECT count(*) FROM pg_event_trigger", renewed},
	{"an event trigger that is silent", "CREATE FUNCTION look() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END' ;; CREATE EVENT TRIGGER look ON ddl_command_end EXECUTE FUNCTION look()", "SELECT count(*) FROM pg_event_trigger", renewed},
	{"a publication", "SET client_min_messages = error ;; CREATE PUBLICATION p FOR ALL TABLES", "SELECT count(*) FROM pg_publication", counted},
	{"a large object", "SELECT lo_from_bytea(0, 'text')", "SELECT count(*) FROM pg_largeobject_metadata", counted},
	{"a cast", "CREATE CAST (bytea AS boolean) WITH INOUT", "SELECT count(*) FROM pg_cast WHERE oid >= 16384", counted},
	{"a foreign server", "CREATE FOREIGN DATA WRAPPER w ;; CREATE SERVER s FOREIGN DATA WRAPPER w", "SELECT count(*) FROM pg_foreign_server", counted},
	{"default rights", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC", "SELECT count(*) FROM pg_default_acl", counted},
	{"a function of PostgreSQL's that is forbidden", "REVOKE EXECUTE ON FUNCTION pg_sleep(float8) FROM PUBLIC", "SELECT count(*) FROM pg_proc WHERE proname = 'pg_sleep' AND proacl IS NOT NULL", counted},
	{"a function of PostgreSQL's that is another", "ALTER FUNCTION pg_catalog.now() COST 1000", "SELECT count(*) FROM pg_proc WHERE procost = 1000 AND proname = 'now'", counted},
	{"a remark on a function of PostgreSQL's", "COMMENT ON FUNCTION pg_catalog.pg_sleep(float8) IS 'tired'", "SELECT count(*) FROM pg_description WHERE description = 'tired'", counted},
	{"a remark on the database", "COMMENT ON DATABASE THIS IS 'mine'", "SELECT count(*) FROM pg_shdescription WHERE description = 'mine' AND objoid = (SELECT oid FROM pg_database WHERE datname = current_database())", counted},
	{"a setting of the database", "ALTER DATABASE THIS SET work_mem = '7MB'", "SELECT count(*) FROM pg_settings WHERE name = 'work_mem' AND setting = '7168'", counted},
	{"a database that refuses to be written", "ALTER DATABASE THIS SET default_transaction_read_only = on", "SELECT count(*) FROM pg_settings WHERE name = 'default_transaction_read_only' AND setting = 'on'", broken},
	{"a setting of a role in the database", "ALTER ROLE postgres IN DATABASE THIS SET work_mem = '7MB'", "SELECT count(*) FROM pg_settings WHERE name = 'work_mem' AND setting = '7168'", counted},
	{"a right on the database", "REVOKE TEMPORARY ON DATABASE THIS FROM PUBLIC", "SELECT count(*) FROM pg_database WHERE datname = current_database() AND datacl IS NOT NULL", counted},
	{"a limit of connections", "ALTER DATABASE THIS CONNECTION LIMIT 7", "SELECT count(*) FROM pg_database WHERE datname = current_database() AND datconnlimit <> -1", counted},
	{"a closed database", "UPDATE pg_database SET datallowconn = false WHERE datname = 'THIS'", "SELECT count(*) FROM pg_database WHERE datname = current_database() AND NOT datallowconn", broken},
	{"another owner", "ALTER DATABASE THIS OWNER TO pg_monitor", "SELECT count(*) FROM pg_database WHERE datname = current_database() AND datdba <> 10", counted},
}

func TestNothingThatATestLeavesReachesTheNextOne(t *testing.T) {
	p := &pool{server: own(t)}
	var others []legacy
	dropped := false
	for _, l := range legacies {
		if l.then == counted {
			if dropped && !*everyDrop {
				others = append(others, l)
				continue
			}
			dropped = true
		}
		t.Run(l.what, func(t *testing.T) { l.pass(t, p) })
	}
	name := databaseName(t.Name())
	must(t, p.take(name))
	for _, l := range others {
		t.Run(l.what, func(t *testing.T) { l.count(t, p, name) })
	}
	must(t, p.give(name))
}

// A database that is dropped, and the one that is made for it, are dear.
var everyDrop = flag.Bool("drops", false, "have every database dropped that cannot be made as new, and not only the first that is counted")

// count leaves the legacy in a transaction of a database that is as new, empties the database in it and counts, and
// rolls it back.
func (l legacy) count(t *testing.T, p *pool, name string) {
	s, err := p.server.session(name)
	must(t, err)
	defer s.close()
	rows := func(statements ...string) string {
		for _, query := range append(append([]string{"BEGIN"}, statements...), newPublic) {
			must(t, s.exec(query))
		}
		got, err := s.text(p.census)
		must(t, err)
		must(t, s.exec("ROLLBACK"))
		return got
	}
	if rows(l.statements(name)...) == p.asNew {
		t.Error("the rows of the catalogs are those of a new database")
	}
	if got := rows(); got != p.asNew {
		t.Errorf("without it the rows are %s, and in a new database %s", got, p.asNew)
	}
}

// pass leaves the legacy in a database of a pool and looks for it in the one that comes next.
func (l legacy) pass(t *testing.T, p *pool) {
	const number = "SELECT oid::text FROM pg_database WHERE datname = current_database()"
	name, next := databaseName(t.Name()), databaseName(t.Name())
	must(t, p.take(name))
	early := open(t, p.server.DSN(Database(name)))
	was := ask(t, early, number)
	leave(t, early, l.statements(name))
	stays := l.then == renewed
	seen := "SELECT (" + l.seen + ")::text"
	again := open(t, p.server.DSN(Database(name))) // has the settings that a database gives its new sessions
	if l.what != "a closed database" && ask(t, again, seen) == "0" {
		t.Error("it was not left")
	}
	if err := p.give(name); (err == nil) != stays {
		t.Errorf("the database is handed on: %t (%v)", err == nil, err)
	}
	must(t, p.take(next))
	db := open(t, p.server.DSN(Database(next)))
	if got := ask(t, db, seen); got != "0" {
		t.Errorf("the next test finds it: %s", got)
	}
	if is := ask(t, db, number); (is == was) != stays {
		t.Errorf("the next test has database number %s, and this one had %s", is, was)
	}
	for _, late := range []*sql.DB{early, again} {
		late.SetMaxIdleConns(0)
		if err := late.PingContext(deadline(t)); err == nil || !strings.Contains(err.Error(), "3D000") {
			t.Errorf("a client that comes late: %v", err)
		}
	}
	must(t, p.give(next))
}

// statements are what leaves the legacy in a database.
func (l legacy) statements(database string) []string {
	return strings.Split(strings.ReplaceAll(l.do, "THIS", database), " ;; ")
}

// leave runs the statements on one connection, and keeps it.
func leave(t *testing.T, db *sql.DB, statements []string) {
	t.Helper()
	conn, err := db.Conn(deadline(t))
	must(t, err)
	for _, query := range statements {
		if _, err := conn.ExecContext(deadline(t), query); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
}

func TestADatabaseThatCannotBeDroppedIsNotHandedOn(t *testing.T) {
	t.Parallel() // ALTER DATABASE waits five seconds for a prepared transaction to end
	p := &pool{server: own(t)}
	for _, l := range []legacy{
		{what: "a prepared transaction", do: "BEGIN ;; CREATE TABLE t (i int) ;; PREPARE TRANSACTION 'left'"},
		{what: "a template", do: "ALTER DATABASE THIS IS_TEMPLATE true"},
	} {
		t.Run(l.what, func(t *testing.T) {
			name := databaseName(t.Name())
			must(t, p.take(name))
			leave(t, open(t, p.server.DSN(Database(name))), l.statements(name))
			if err := p.give(name); err == nil {
				t.Error("it is handed on")
			}
			next := databaseName(t.Name())
			must(t, p.take(next))
			db := open(t, p.server.DSN(Database(next)))
			if got := ask(t, db, "SELECT count(*)::text FROM pg_database d LEFT JOIN pg_prepared_xacts x ON database = datname WHERE datname = current_database() AND (datistemplate OR gid IS NOT NULL)"); got != "0" {
				t.Error("the next test has it")
			}
			must(t, p.give(next))
			if l.what == "a prepared transaction" {
				do(t, open(t, p.server.DSN(Database(name))), "ROLLBACK PREPARED 'left'") // its locks are the server's
			}
		})
	}
}
