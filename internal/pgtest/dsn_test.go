package pgtest

import (
	"maps"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestDSNsKeepTheirMeaningThroughBothForms(t *testing.T) {
	for _, dsn := range []string{
		"postgres://postgres:s%40cret@127.0.0.1:5433/app?sslmode=disable&statement_timeout=100",
		"postgresql://app@db.example/app",
		"postgres:///app?host=%2Ftmp%2Fpg&port=5433&user=app",
		"postgres://[::1]:5433/app",
		"postgres://",
		"host=127.0.0.1 port=5433 user=postgres password=secret dbname=app sslmode=disable",
		`host = /tmp/pg  user='the app' password='it\'s a \\' options='-c geqo=off' dbname=''`,
		"",
	} {
		a, err := parseAddress(dsn)
		if err != nil {
			t.Errorf("%s: %v", dsn, err)
			continue
		}
		for _, form := range []string{a.url(), a.keywords(), With(dsn)} {
			b, err := parseAddress(form)
			params := maps.Equal(a.params, b.params)
			a.params, b.params = nil, nil
			if err != nil || !params || !sameAddress(a, b) {
				t.Errorf("%s became %s: %+v, %v", dsn, form, b, err)
			}
			a, _ = parseAddress(dsn)
		}
	}
}

func sameAddress(a, b address) bool {
	return a.host == b.host && a.port == b.port && a.user == b.user && a.password == b.password && a.database == b.database
}

func TestOptionsChangeADSN(t *testing.T) {
	opts := []DSNOption{Database("b"), User("bob", "pw"), Via("127.0.0.1:99"), Param("groupcommit_maxlen", "5")}
	for dsn, want := range map[string]string{
		"postgres://alice:x@db:1/a?sslmode=disable": "postgres://bob:pw@127.0.0.1:99/b?groupcommit_maxlen=5&sslmode=disable",
		"host=db port=1 user=alice dbname=a":        "host=127.0.0.1 port=99 user=bob password=pw dbname=b groupcommit_maxlen=5",
	} {
		if got := With(dsn, opts...); got != want {
			t.Errorf("%s became %s, want %s", dsn, got, want)
		}
	}
	if got, want := With("dbname=a", Via("/tmp/pg/.s.PGSQL.5433")), "host=/tmp/pg port=5433 dbname=a"; got != want {
		t.Errorf("by the socket: %s, want %s", got, want)
	}
}

func TestAParameterMayHoldABlank(t *testing.T) {
	for dsn, want := range map[string]string{
		"postgres://db/a": "postgres://db/a?options=-c%20work_mem%3D1%2B1",
		"host=db":         "host=db options='-c work_mem=1+1'",
	} {
		if got := With(dsn, Param("options", "-c work_mem=1+1")); got != want {
			t.Errorf("%s became %s, want %s", dsn, got, want)
		}
	}
	config, err := pgx.ParseConfig(With("postgres://db/a", Param("default_transaction_isolation", "repeatable read")))
	if err != nil || config.RuntimeParams["default_transaction_isolation"] != "repeatable read" {
		t.Errorf("pgx reads %q, %v", config.RuntimeParams, err)
	}
}

func TestMalformedDSNsAreRefused(t *testing.T) {
	for _, dsn := range []string{"app.db", "host=a dbname", "password='open", "postgres://a:1,b:2/app", "=x"} {
		if _, err := parseAddress(dsn); err == nil {
			t.Errorf("%s: no error", dsn)
		}
	}
}
