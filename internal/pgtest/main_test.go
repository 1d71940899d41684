package pgtest

import (
	"context"
	"database/sql"
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
	os.Exit(Run(m))
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
