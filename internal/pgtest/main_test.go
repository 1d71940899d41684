package pgtest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/groupcommit/groupcommit/internal/bounded"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envVictim); dir != "" {
		victim(dir)
	}
	unsynced.Settings["max_prepared_transactions"] = "2" // a test leaves one
	os.Exit(Run(withUsual{m}))
}

// withUsual closes the server of usual when the tests have run.
type withUsual struct{ *testing.M }

func (w withUsual) Run() int {
	code := w.M.Run()
	if usualServer.server != nil {
		if err := usualServer.server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}

// open connects to a DSN until the test ends.
func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	bounded.Test(t)
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func do(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.ExecContext(deadline(t), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func ask(t *testing.T, db *sql.DB, query string) (answer string) {
	t.Helper()
	if err := db.QueryRowContext(deadline(t), query).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until what holds is true.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	bounded.Until(t, what, holds)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
