package record

import (
	"database/sql/driver"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

// SQLite is the [Dialect] of SQLite. A transaction that writes has the database's write lock, so an id that is not there is
// claimed by that alone. Times are this machine's. [Of] makes it.
type SQLite struct{ common }

const (
	// SQLiteRead reads the promises of the ids in [IDs.JSON], as [SQLitePromise] decodes them. The CROSS JOIN has SQLite
	// look up one id after the other. That is twice as fast as IN, which sorts them first.
	SQLiteRead = "SELECT id, state, create_key, value" + fromJSON
	fromJSON   = " FROM (SELECT value AS wanted FROM json_each(?1)) CROSS JOIN groupcommit_promises ON id = wanted"

	// SQLiteInsert inserts what [Note.Args] says. The ids come as a JSON array, and the keys and the values as one blob
	// each, of pieces that have the same size: a statement costs more from Go than a row costs in SQLite, and so does a
	// parameter. All other ways that SQLite has to take an array apart were found to be two to three times as slow.
	SQLiteInsert = `INSERT INTO groupcommit_promises (id, state, create_key, value, kind, created_at, completed_at)
		SELECT j.value, ?2, substr(?3, j.key * ?4 + 1, ?4), substr(?5, j.key * ?6 + 1, ?6), ?7, ?8, ?8 FROM json_each(?1) AS j`
)

// SQLitePromise is a row of [SQLiteRead].
func SQLitePromise(row []driver.Value) durable.Promise {
	state, _ := row[1].(int64)
	return durable.Promise{ID: text(row[0]), State: durable.State(state), CreateKey: durable.Key(text(row[2])),
		Value: durable.Value{Data: []byte(text(row[3]))}}
}

func text(v driver.Value) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

func (SQLite) Read(ids []string) Statement {
	return Statement{"SELECT " + columns + fromJSON, []any{jsonArray(ids)}}
}

func (SQLite) Claim(*Table, []Row) []Statement { return nil }

func (SQLite) Record(t *Table, rows []Row, _ time.Time) iter.Seq2[Statement, int] {
	return func(yield func(Statement, int) bool) {
		for piece := range pieces(rows) {
			var notes Notes
			for _, r := range piece {
				notes.Add(r.ID, r.Key, r.State, r.Value)
			}
			for i := range notes.All() {
				n := &notes.All()[i]
				var args []any
				for _, v := range n.Args(t.Kind, time.Now()) {
					args = append(args, v)
				}
				if !yield(Statement{SQLiteInsert, args}, n.Rows) {
					return
				}
			}
		}
	}
}

// Last has no statements: SQLite is no round trip away.
func (SQLite) Last(*Table, []Row, durable.State, time.Time) ([]Statement, bool) { return nil, false }

// chunk is how many rows a statement with VALUES has: a longer text is hardly faster.
const chunk = 64

func (SQLite) Settle(rows []Row) iter.Seq[Statement] {
	return func(yield func(Statement) bool) {
		for rows := range slices.Chunk(rows, chunk) {
			args := []any{time.Now().UnixMilli()}
			for _, r := range rows {
				args = append(args, r.ID, int64(r.State), r.Value)
			}
			if !yield(Statement{`WITH now(at) AS (VALUES (?1)), c(id, state, value) AS (VALUES ` + strings.Repeat("(?, ?, ?), ", len(rows)-1) + `(?, ?, ?))
				UPDATE groupcommit_promises AS p SET state = c.state, value = c.value, completed_at = ?1, lease_owner = NULL, lease_until = NULL
				FROM c WHERE p.id = c.id AND p.state = 0`, args}) {
				return
			}
		}
	}
}

// Old goes by the rowid, in whose order SQLite keeps the rows.
func (SQLite) Old(at Place, age time.Duration) Statement {
	return Statement{`SELECT coalesce(max(place), 0), 0, count(*) < ?3, count(*) FILTER (WHERE old), json_group_array(place) FILTER (WHERE old)
		FROM (SELECT rowid AS place, ` + sqliteOld + `?2 AS old FROM groupcommit_promises WHERE rowid > ?1 ORDER BY rowid LIMIT ?3)`,
		[]any{at.From, time.Now().Add(-age).UnixMilli(), int64(sweepMost)}}
}

func (SQLite) Forget(places string, age time.Duration) Statement {
	return Statement{"DELETE FROM groupcommit_promises WHERE rowid IN (SELECT value FROM json_each(?1)) AND " + sqliteOld + "?2",
		[]any{places, time.Now().Add(-age).UnixMilli()}}
}

// sqliteOld is the condition that a promise was completed before a time, and is none without it.
const sqliteOld = "id <> '' AND completed_at < "
