package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A shape is a kind of statement beside the insert of one value. A question mark stands for an argument, T for the table, and
// SERIAL for a key that the database makes.
type shape struct {
	name      string
	create    string // and what is in the table before the first call
	exec      string
	twice     bool   // a call is a transaction of two of them
	returning bool   // a call is a query for one value
	reads     string // every other call is this query for one value, with the same arguments, instead; "": none
	unnest    string // does the same for all calls of an array of their first arguments; "": nobody would write that
	served    bool   // a call is a request to an HTTP server
	slow      bool   // a slice of it is short: what it leaves would fill the disk
	args      func(n int) []any
	left      string // what the calls have left, in the table after them; it is each of the calls, but for the above
}

// shapeKeys are the keys of the shapes that write to rows that are there.
const shapeKeys = 10_000

var shapes = []*shape{
	{name: "updates by key", create: "CREATE TABLE T (k INTEGER PRIMARY KEY, n INTEGER NOT NULL); " + keysFrom0, exec: "UPDATE T SET n = n + 1 WHERE k = ?",
		unnest: "UPDATE T SET n = T.n + c.n FROM (SELECT k, count(*) AS n FROM unnest(?::bigint[]) AS k GROUP BY k) AS c WHERE T.k = c.k",
		args:   func(n int) []any { return []any{n % shapeKeys} }, left: "sum(n)"},
	{name: "upserts", create: "CREATE TABLE T (k INTEGER PRIMARY KEY, n INTEGER NOT NULL)", exec: upsert,
		args: func(n int) []any { return []any{n % shapeKeys} }, left: "sum(n)"},
	{name: "20 columns", create: "CREATE TABLE T (SERIAL, " + columns(20, "c%d INTEGER") + ")", exec: "INSERT INTO T (" + columns(20, "c%d") + ") VALUES (?" + strings.Repeat(", ?", 19) + ")",
		args: twentyNumbers, left: "count(*)"},
	{name: "blobs of 10 KB", create: "CREATE TABLE T (SERIAL, b BLOB)", exec: "INSERT INTO T (b) VALUES (?)", slow: true,
		args: func(int) []any { return []any{tenKB} }, left: "count(*)"},
	{name: "4 indexes, random keys", create: "CREATE TABLE T (SERIAL, " + columns(4, "c%d BIGINT") + ")" + columnsJoined(4, "; CREATE INDEX T_%[1]d ON T (c%[1]d)", ""),
		exec: "INSERT INTO T (" + columns(4, "c%d") + ") VALUES (?, ?, ?, ?)", args: fourKeys, left: "count(*)"},
	{name: "INSERT RETURNING", create: "CREATE TABLE T (SERIAL, value INTEGER)", exec: "INSERT INTO T (value) VALUES (?) RETURNING id", returning: true,
		unnest: unnestValues + " RETURNING id",
		args:   func(n int) []any { return []any{n} }, left: "count(*)"},
	{name: "transactions of two inserts", create: "CREATE TABLE T (SERIAL, value INTEGER)", exec: "INSERT INTO T (value) VALUES (?)", twice: true,
		args: func(n int) []any { return []any{n} }, left: "count(*) / 2"},
}

const (
	upsert       = "INSERT INTO T (k, n) VALUES (?, 1) ON CONFLICT (k) DO UPDATE SET n = T.n + 1"
	unnestValues = "INSERT INTO T (value) SELECT unnest(?::bigint[])"
)

// hotKeys are the keys of the upserts that all want the same rows.
const hotKeys = 16

// Shapes of the mode compare alone.
var (
	hotUpserts = &shape{name: "upserts on 16 keys", create: "CREATE TABLE T (k INTEGER PRIMARY KEY, n INTEGER NOT NULL)", exec: upsert,
		unnest: "INSERT INTO T (k, n) SELECT k, count(*) FROM unnest(?::bigint[]) AS k GROUP BY k ON CONFLICT (k) DO UPDATE SET n = T.n + excluded.n",
		args:   func(n int) []any { return []any{n % hotKeys} }, left: "sum(n)"}
	halfReads = &shape{name: "half updates, half reads by key", create: "CREATE TABLE T (k INTEGER PRIMARY KEY, n INTEGER NOT NULL); " + keysFrom0,
		exec: "UPDATE T SET n = n + 1 WHERE k = ?", reads: "SELECT n FROM T WHERE k = ?", args: func(n int) []any { return []any{n % shapeKeys} }, left: "sum(n)"}
	served = &shape{name: "HTTP server with sqlx", create: "CREATE TABLE T (SERIAL, value INTEGER)", exec: "INSERT INTO T (value) VALUES (?)", served: true,
		args: func(n int) []any { return []any{n} }, left: "count(*)"}
)

// shapeNamed finds one of shapes.
func shapeNamed(name string) *shape {
	return shapes[slices.IndexFunc(shapes, func(s *shape) bool { return s.name == name })]
}

// keysFrom0 is a text of its own: PostgreSQL and SQLite have no series of numbers in common but a recursive one.
const keysFrom0 = "INSERT INTO T (k, n) WITH RECURSIVE s(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM s WHERE k < 9999) SELECT k, 0 FROM s"

func columns(n int, format string) string { return columnsJoined(n, format, ", ") }

func columnsJoined(n int, format, between string) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(format, i))
	}
	return strings.Join(all, between)
}

func twentyNumbers(n int) []any {
	args := make([]any, 20)
	for i := range args {
		args[i] = n + i
	}
	return args
}

var tenKB = bytes.Repeat([]byte("0123456789abcdef"), 640)

func fourKeys(n int) []any {
	args := make([]any, 4)
	for i := range args {
		args[i] = scattered(4*n + i)
	}
	return args
}

// scattered is a number far from that of the next n.
func scattered(n int) int64 {
	x := (uint64(n) + 1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	return int64((x ^ x>>27) >> 1)
}

// shapeTexts are a shape's for one database.
type shapeTexts struct{ create, exec, reads, unnest string }

func (s *shape) texts(driver, table string) shapeTexts {
	key, blob := "id INTEGER PRIMARY KEY", "BLOB"
	if driver == pgxDriver {
		key, blob = "id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "BYTEA"
	}
	words := strings.NewReplacer("TABLE T ", "TABLE "+table+" ", "INTO T ", "INTO "+table+" ", "UPDATE T ", "UPDATE "+table+" ", "ON T ", "ON "+table+" ", "FROM T ", "FROM "+table+" ",
		"T.n", table+".n", "T.k", table+".k", "T_", table+"_", "SERIAL,", key+",", "BLOB", blob)
	t := shapeTexts{words.Replace(s.create), words.Replace(s.exec), words.Replace(s.reads), words.Replace(s.unnest)}
	if driver == pgxDriver {
		t.exec, t.reads, t.unnest = withNumbers(t.exec), withNumbers(t.reads), withNumbers(t.unnest)
	}
	return t
}

// withNumbers is a text with PostgreSQL's placeholders.
func withNumbers(text string) string {
	for n := 1; strings.Contains(text, "?"); n++ {
		text = strings.Replace(text, "?", "$"+strconv.Itoa(n), 1)
	}
	return text
}

// want is what so many calls are to leave.
func (s *shape) want(calls int) int {
	if s.reads != "" {
		return (calls + 1) / 2
	}
	return calls
}

// shapeCalls are the calls of a shape, as a program makes them that knows nothing of groups.
func shapeCalls(db *sql.DB, w *work) (func(n int) error, func() error, error) {
	s := w.shape
	call := func(n int) error {
		_, err := db.Exec(w.insert, s.args(n)...)
		return err
	}
	switch {
	case s.returning:
		call = func(n int) error {
			var id int64
			return db.QueryRow(w.insert, s.args(n)...).Scan(&id)
		}
	case s.twice:
		call = func(n int) error {
			return inTx(db, func(tx *sql.Tx) error { return twice(tx.Exec, w.insert, s.args(n)) })
		}
	case s.reads != "":
		call = alternately(call, w.read(db))
	case s.served:
		return overHTTP(w.throughSqlx(db), w)
	}
	return func(n int) error {
		if err := call(n); err != nil {
			return fmt.Errorf("call %d: %w", n, err)
		}
		return nil
	}, nil, nil
}

// alternately makes even calls by one function and odd calls by another.
func alternately(even, odd func(n int) error) func(n int) error {
	return func(n int) error {
		if n%2 == 0 {
			return even(n)
		}
		return odd(n)
	}
}

// read is the call that only reads.
func (w *work) read(db *sql.DB) func(n int) error {
	return func(n int) error {
		var value int64
		return db.QueryRow(w.reads, w.shape.args(n)...).Scan(&value)
	}
}

func twice(exec func(string, ...any) (sql.Result, error), text string, args []any) error {
	if _, err := exec(text, args...); err != nil {
		return err
	}
	_, err := exec(text, args...)
	return err
}

// byStatement makes a call through the prepared statement of a hand-written loop.
func (w *work) byStatement(stmt *sql.Stmt, n int) error {
	s := w.shape
	if s == nil {
		_, err := stmt.Exec(n)
		return err
	}
	if s.returning {
		var id int64
		return stmt.QueryRow(s.args(n)...).Scan(&id)
	}
	_, err := stmt.Exec(s.args(n)...)
	if err == nil && s.twice {
		_, err = stmt.Exec(s.args(n)...)
	}
	return err
}

// queue puts a call into a hand-written batch.
func (w *work) queue(b *pgx.Batch, n int) {
	s := w.shape
	if s == nil {
		b.Queue(w.insert, int64(n))
		return
	}
	q := b.Queue(w.insert, s.args(n)...)
	if s.returning {
		q.QueryRow(func(row pgx.Row) error {
			var id int64
			return row.Scan(&id)
		})
	}
	if s.twice {
		b.Queue(w.insert, s.args(n)...)
	}
}

// check makes sure that every call has left what it has to.
func (s *shape) check(ctx context.Context, db *sql.DB, w *work) (left int, err error) {
	if err := db.QueryRowContext(ctx, "SELECT coalesce("+s.left+", 0) FROM "+w.table).Scan(&left); err != nil {
		return 0, err
	}
	if want := s.want(w.users); left != want {
		return left, fmt.Errorf("the database is wrong: %s of %s calls have left something", comma(left), comma(want))
	}
	return left, nil
}

// checkSums makes sure that there is a row for every value that w inserts, and that the sum of the values is theirs. It costs
// little where there are millions of rows.
func checkSums(ctx context.Context, db *sql.DB, w *work) (rows int, err error) {
	want, sum := w.rows(), 0
	if w.clash > 0 && w.failure == nil {
		want++ // the row that was there
	}
	for call := range w.users {
		if v := w.value(call); v != nothing {
			sum += v
		}
	}
	var got int
	err = db.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(value), 0) FROM "+w.table).Scan(&rows, &got)
	if err == nil && (rows != want || got != sum) {
		err = fmt.Errorf("the database is wrong: %s rows with the sum %d, and %s with %d expected", comma(rows), got, comma(want), sum)
	}
	return rows, err
}
