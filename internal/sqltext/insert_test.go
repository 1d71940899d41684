package sqltext

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPlainInsertIsWrittenWithManyRows(t *testing.T) {
	for query, want := range map[string]struct {
		table string
		two   string
	}{
		"INSERT INTO t (a) VALUES ($1)":                                    {"t", "INSERT INTO t (a) VALUES ($1), ($2)"},
		"insert into app.t(a,b)values($2,$1)":                              {"app.t", "insert into app.t(a,b)values($2,$1), ($4,$3)"},
		`INSERT INTO "A b" . "t" (a, "B") VALUES ( $1 , $1 ) ; `:           {`"A b"."t"`, `INSERT INTO "A b" . "t" (a, "B") VALUES ( $1 , $1 ), ( $2 , $2 ) ; `},
		"INSERT INTO t (a, b, c, d, e) VALUES ($1, NULL, -1.5, 'x', true)": {"t", "INSERT INTO t (a, b, c, d, e) VALUES ($1, NULL, -1.5, 'x', true), ($2, NULL, -1.5, 'x', true)"},
		"/* h */ INSERT INTO t (a) VALUES (/* $9 */ $1) -- end":            {"t", "/* h */ INSERT INTO t (a) VALUES (/* $9 */ $1), (/* $9 */ $2) -- end"},
	} {
		p := PlainInsertOf(query)
		require.NotNil(t, p, query)
		require.Equal(t, want.table, p.Table)
		require.Equal(t, query, p.Rows(1))
		require.Equal(t, want.two, p.Rows(2))
	}
}

func TestNoOtherTextIsAPlainInsert(t *testing.T) {
	for _, query := range []string{
		"", "INSERT", "INSERT INTO t", "INSERT INTO t (a)", "INSERT INTO t (a) VALUES", "INSERT INTO t (a) VALUES (",
		"INSERT INTO t (a) VALUES ()", "INSERT INTO t () VALUES ($1)", "INSERT INTO t (a) VALUES ($1", "INSERT INTO t (a,) VALUES ($1)",
		"INSERT INTO t VALUES ($1)", "INSERT INTO t AS x (a) VALUES ($1)", "INSERT INTO a.b.t (a) VALUES ($1)",
		"INSERT INTO t (a) VALUES (1)", "INSERT INTO t (a) VALUES ($2)", "INSERT INTO t (a, b) VALUES ($1, $3)",
		"INSERT INTO t (a) VALUES ($0)", "INSERT INTO t (a) VALUES ($65536)", "INSERT INTO t (a) VALUES ($99999999999999999999)",
		"INSERT INTO t (a) VALUES ($1), ($2)", "INSERT INTO t (a) VALUES ($1) RETURNING a", "INSERT INTO t (a) VALUES ($1) ON CONFLICT DO NOTHING",
		"INSERT INTO t (a) OVERRIDING USER VALUE VALUES ($1)", "INSERT INTO t (a) OVERRIDING SYSTEM VALUE VALUES ($1)",
		"INSERT INTO t (a, b) VALUES ($1, DEFAULT)", "INSERT INTO t (a, b) VALUES ($1, now())", "INSERT INTO t (a, b) VALUES ($1, current_timestamp)",
		"INSERT INTO t (a) VALUES ($1 + 1)", "INSERT INTO t (a) VALUES ($1::int)", "INSERT INTO t (a) VALUES (($1))", "INSERT INTO t (a) VALUES (-$1)",
		"INSERT INTO t (a) VALUES ((SELECT max(a) + $1 FROM t))", "INSERT INTO t (a) SELECT $1", "INSERT INTO t (a[1]) VALUES ($1)", "INSERT INTO t (a.b) VALUES ($1)",
		"WITH x AS (SELECT 1) INSERT INTO t (a) VALUES ($1)", "INSERT INTO t (a) VALUES ($1); SELECT 1", "INSERT INTO t (a) VALUES ($1);;",
		"INSERT INTO t (a, b) VALUES ($1, 'now')", "INSERT INTO t (a, b) VALUES ($1, ' Today ')", "INSERT INTO t (a, b) VALUES ($1, 'yesterday')", "INSERT INTO t (a, b) VALUES ($1, 'TOMORROW')",
		"INSERT INTO t (a, b) VALUES ($1, 'to'\n'day')", `INSERT INTO t (a, b) VALUES ($1, 'n\157w')`, `INSERT INTO t (a, b) VALUES ($1, E'x')`, "INSERT INTO t (a, b) VALUES ($1, $$x$$)",
		"INSERT INTO t (a, b) VALUES ($1, date '2020-01-01')", "INSERT INTO t (a, b) VALUES ($1, B'1')", "INSERT INTO t (a, b) VALUES ($1, b)", "INSERT INTO t (a, b) VALUES ($1 'x')",
		`INSERT INTO U&"t" (a) VALUES ($1)`, "INSERT INTO t (a) VALUES ($1) \x00", "INSERT INTO t (a, b) VALUES ($1, 1a)", "REPLACE INTO t (a) VALUES ($1)",
		"INSERT INTO t (a, b) VALUES ($1, 'x", "INSERT INTO t (a, b) VALUES ($1, \"x\")", "INSERT INTO t (a) VALUES (:a)", "INSERT INTO t (a) VALUES (?)",
	} {
		require.Nil(t, PlainInsertOf(query), query)
	}
}

func FuzzPlainInsert(f *testing.F) {
	f.Add("INSERT INTO t (a, b) VALUES ($1, 'x')")
	f.Add("insert into \"a\".t (a) values (-1, $1) /* x */;")
	f.Fuzz(func(t *testing.T, query string) {
		p := PlainInsertOf(query)
		if p == nil {
			return
		}
		require.Equal(t, query, p.Rows(1))
		require.Equal(t, Batch, Classify(Postgres, query).Class)
		require.False(t, Classify(Postgres, query).Returning)
		many := p.Rows(3)
		require.Nil(t, PlainInsertOf(many))
		require.Equal(t, Batch, Classify(Postgres, many).Class)
		require.True(t, strings.HasPrefix(many, p.head) && strings.HasSuffix(many, p.tail))
	})
}
