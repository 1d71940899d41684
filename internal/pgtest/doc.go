// Package pgtest starts throwaway PostgreSQL servers for tests and for the benchmark program.
//
// A test that wants a database asks for one, and the test binary's TestMain stops the server at the end:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }
//
//	func TestSomething(t *testing.T) {
//		db, err := sql.Open("pgx", pgtest.DSN(t))
//		…
//	}
//
// All tests of a binary share one server, started at the first use; every call of DSN gives a database on it that is as
// new and that no other test has. A test that stops, kills or configures a server takes one for itself with New; a
// program that is no test uses Start and Close.
//
// # Which server
//
// The environment variable GROUPCOMMIT_TEST_PG, a URL or keyword DSN whose role may create databases, names a server to
// use instead of a throwaway one; tests that need their own server are then skipped. Without it, and without
// PostgreSQL's programs on this machine, tests are skipped and say what to install; with CI=true they fail instead.
//
// # What a throwaway server is
//
// It is as durable as a real one: fsync and synchronous_commit are on. Only the server that tests share does not sync: it
// does not outlive the tests, and its files are in memory where there is room. A throwaway server listens on a unix socket in its folder
// (trusted: the folder is closed to others) and on a free port of 127.0.0.1 (with a random password, which the DSN
// holds). When the tests run as root it runs as user postgres or nobody, because the server refuses root.
//
// No server outlives the process that started it, even if that process is killed: each has a watchdog, a small shell
// process that stops it and removes its folder.
//
// # The driver
//
// The package's own statements (CREATE DATABASE and the like) go through pgconn of jackc/pgx. A DSN is for whatever driver the
// program imports.
//
// Package proxy, beside this one, puts faults between a client and a server.
package pgtest
