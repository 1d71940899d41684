package sqltext

import (
	"strings"
	"testing"
)

func TestMostRowsOfAnInsert(t *testing.T) {
	for want, queries := range map[int][]string{
		1: {
			"INSERT INTO t VALUES (1) RETURNING id",
			"insert into t (a, b) values ($1, 'x') returning *",
			"-- name: Create :one\nINSERT INTO s.t (a, b.c, d[1]) VALUES ($1, $2, $3) RETURNING a; -- end",
			`INSERT INTO "t" AS "x" ("a") VALUES (DEFAULT) RETURNING repeat("a", 1000), (SELECT max(a) FROM t)`,
			"INSERT INTO t DEFAULT VALUES RETURNING id",
			"INSERT INTO t (a) OVERRIDING SYSTEM VALUE VALUES (-1) RETURNING id",
			"INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = t.b + excluded.b WHERE t.b IN (SELECT 1) RETURNING b",
			"INSERT INTO t VALUES (now(), gen_random_uuid(), COALESCE($1::timestamptz, now()), nextval('s'::regclass), CURRENT_DATE, NULL, TRUE) RETURNING id",
			"INSERT INTO t VALUES ($1::numeric(10, 2), $2::timestamp(3) with time zone, $3::character varying(20)[], $4::s.kind, '5'::double precision) RETURNING id",
			"INSERT INTO t VALUES (DATE '2024-02-29', ARRAY[1, 2], ARRAY[]::int[], E'a', $$b$$) RETURNING id",
		},
		3: {"INSERT INTO t (a) VALUES ($1), ($2), ($3) RETURNING id", "INSERT INTO t (a, b) VALUES ($1, now()), (1, DEFAULT), (-2.5, '),(') ON CONFLICT DO NOTHING RETURNING id"},
		0: {
			"",
			"INSERT",
			"SELECT 1",
			"UPDATE t SET a = 1 WHERE id = $1 RETURNING id",
			"DELETE FROM t WHERE id = $1 RETURNING id",
			"MERGE INTO t USING u ON t.id = u.id WHEN NOT MATCHED THEN INSERT VALUES (1) RETURNING 1",
			"WITH x AS (DELETE FROM u RETURNING *) INSERT INTO t VALUES (1) RETURNING id",
			"INSERT INTO t SELECT * FROM u RETURNING id",
			"INSERT INTO t (a) SELECT 1 RETURNING id",
			"INSERT INTO t (SELECT a FROM u) RETURNING id",
			"INSERT INTO t (VALUES (1), (2)) RETURNING id",
			"INSERT INTO t TABLE u RETURNING id",
			"INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x RETURNING id",
			"INSERT INTO t VALUES (1) UNION ALL SELECT a FROM u RETURNING id",
			"INSERT INTO t VALUES (1), (2) UNION VALUES (3) RETURNING id",
			"INSERT INTO t VALUES (1) LIMIT 1 RETURNING id",
			"INSERT INTO t VALUES (generate_series(1, 1000000)) RETURNING id",
			"INSERT INTO t VALUES (pg_catalog.now()) RETURNING id",
			"INSERT INTO t VALUES (COALESCE(unnest($1::int[]), 1)) RETURNING id",
			"INSERT INTO t VALUES (ARRAY[f(1)]) RETURNING id",
			"INSERT INTO t VALUES ($1::bool AND f(1)) RETURNING id",
			"INSERT INTO t VALUES (@@@@ $1) RETURNING id",
			"INSERT INTO t VALUES ($1 || 'x') RETURNING id",
			"INSERT INTO t VALUES ((SELECT f(1))) RETURNING id",
			"INSERT INTO t VALUES (\"f\"(1)) RETURNING id",
			"INSERT INTO t VALUES (x) RETURNING id",
			"INSERT INTO t VALUES (1), RETURNING id",
			"INSERT INTO t VALUES (1 RETURNING id",
			"INSERT INTO t VALUES () RETURNING id",
			"INSERT INTO t VALUES (1)",
			"INSERT INTO t VALUES ('a\\', f(1), ') RETURNING id', '') RETURNING id",
			"INSERT INTO t VALUES (1)" + strings.Repeat(", (1)", maxText) + " RETURNING id",
		},
	} {
		for _, q := range queries {
			if got := MostRows(q); got != want {
				t.Errorf("%.100q: %d rows, want %d", q, got, want)
			}
		}
	}
}
