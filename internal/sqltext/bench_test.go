package sqltext

import (
	"strings"
	"testing"
)

var benchmarks = []struct{ name, query string }{
	{"insert", "INSERT INTO users (id, name, email, created_at) VALUES (?, ?, ?, ?)"},
	{"upsert", "INSERT INTO kv (k, v, n) VALUES (?, ?, 1) ON CONFLICT (k) DO UPDATE SET v = excluded.v, n = kv.n + 1 WHERE kv.v <> excluded.v"},
	{"update", "UPDATE accounts SET balance = balance - ? WHERE id = ?"},
	{"literal", "INSERT INTO logs VALUES ('" + strings.Repeat("lorem ipsum ", 80) + "')"},
	{"rows=100", "INSERT INTO t (a, b, c) VALUES " + strings.Repeat("(?, ?, ?), ", 99) + "(?, ?, ?)"},
}

func BenchmarkClassify(b *testing.B) {
	for _, d := range []Dialect{SQLite, Postgres} {
		for _, q := range benchmarks {
			b.Run(d.String()+"/"+q.name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(q.query)))
				for b.Loop() {
					if Classify(d, q.query).Class != Batch {
						b.Fatal("not batchable")
					}
				}
			})
		}
	}
}
