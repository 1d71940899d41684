// Package ledger is what commands know of the table groupcommit_promises: how the ids of a batch are claimed and their
// outcomes recorded in the handler's own transaction, and how commands that are still to be run are kept, leased to one
// process at a time, and settled.
//
// A command that is not durable has a row only when it is settled: see [Table.Claim] and [Table.Record]. A durable one has a
// row from the beginning, which is PENDING: see [Table.Pending], [Table.Hold] and [Table.Settle].
package ledger

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

// Table is the rows of one kind of command.
type Table struct {
	Postgres bool   // or else SQLite
	Kind     string // of the commands
	// Expected is the value that most commands are resolved with. In PostgreSQL only others cost an UPDATE.
	Expected []byte
}

// Row is a command in the table.
type Row struct {
	ID      string
	Kind    string // "": it is no command
	Key     durable.Key
	State   durable.State
	Value   []byte // the outcome's
	Param   []byte
	Owner   string // who has leased it
	Created time.Time
	Timeout time.Time // zero: never
}

// Claim makes the ids of rows the transaction's own, until it ends, and returns those rows that are in the table already.
//
// In SQLite the transaction has the database's write lock, so that what is not there stays away. In PostgreSQL the claim is a
// row, in the order of ids, so that transactions which claim the same ids wait for each other, but not in a circle; it says
// already that the command was resolved with the expected value.
func (t *Table) Claim(ctx context.Context, tx durable.Querier, rows []Row) (found map[string]Row, err error) {
	ids := idsOf(rows)
	if !t.Postgres {
		return t.Read(ctx, tx, ids)
	}
	rows = slices.Clone(rows)
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.ID, b.ID) })
	keys := make([]string, len(rows))
	for i, r := range rows {
		keys[i] = hex.EncodeToString([]byte(r.Key))
	}
	claimed, err := strs(tx.QueryContext(ctx, `INSERT INTO groupcommit_promises (id, state, create_key, kind, value, created_at, completed_at)
		SELECT c.id, 1, decode(c.key, 'hex'), $3::text, decode($4::text, 'hex'), `+now+`, `+now+`
		FROM unnest($1::text[], $2::text[]) AS c(id, key) ORDER BY c.id COLLATE "C"
		ON CONFLICT (id) DO NOTHING RETURNING id`,
		array(idsOf(rows)), array(keys), t.Kind, hex.EncodeToString(t.Expected)))
	if err != nil || len(claimed) == len(rows) {
		return nil, err
	}
	mine := make(map[string]bool, len(claimed))
	for _, id := range claimed {
		mine[id] = true
	}
	others := slices.DeleteFunc(ids, func(id string) bool { return mine[id] })
	found, err = t.Read(ctx, tx, others)
	if err == nil && len(found) < len(others) {
		// Deleted between two statements: the next attempt claims it. Or something hides it for good.
		err = fmt.Errorf("groupcommit: groupcommit_promises neither takes nor shows %d of the ids %.100q", len(others)-len(found), others)
	}
	return found, err
}

// Record writes down what commands that were claimed at a time have come to. All of them must be there afterwards, or it is an
// error.
func (t *Table) Record(ctx context.Context, tx durable.Querier, rows []Row, claimed time.Time) error {
	if t.Postgres {
		if time.Since(claimed) <= datedAnew {
			rows = slices.DeleteFunc(slices.Clone(rows), func(r Row) bool {
				return r.State == durable.Resolved && string(r.Value) == string(t.Expected)
			})
		}
		return complete(len(rows), t.update(ctx, tx, rows, durable.Resolved))
	}
	for piece := range pieces(rows) {
		for _, n := range alike(piece) {
			c := affected(tx.ExecContext(ctx, `INSERT INTO groupcommit_promises (created_at, completed_at, kind, state, id, create_key, value)
				SELECT $1, $1, $2, $3, j.value, substr($4, j.key * $5 + 1, $5), substr($6, j.key * $7 + 1, $7) FROM json_each($8) AS j`,
				time.Now().UnixMilli(), t.Kind, int64(n.state), n.keys, int64(n.key), n.values, int64(n.value), jsonArray(n.ids)))
			if err := complete(len(n.ids), c); err != nil {
				return err
			}
		}
	}
	return nil
}

// mostBytes bounds what goes into the database together, but for a single row: there is a limit to a value, and results that
// keep it one by one would exceed it together.
const mostBytes = 4 << 20

// pieces are rows, in their order, as many at a time as go into the database together.
func pieces(rows []Row) iter.Seq[[]Row] {
	return func(yield func([]Row) bool) {
		for len(rows) > 0 {
			n, bytes := 0, 0
			for n < len(rows) {
				bytes += len(rows[n].ID) + len(rows[n].Key) + len(rows[n].Value)
				if n > 0 && bytes > mostBytes {
					break
				}
				n++
			}
			if !yield(rows[:n]) {
				return
			}
			rows = rows[n:]
		}
	}
}

// notes are rows with the same state, and keys and values of the same sizes. They go into SQLite together, in one blob each,
// because a parameter of its own for each costs more than the row.
type notes struct {
	state        durable.State
	key, value   int
	ids          []string
	keys, values []byte
}

func alike(rows []Row) (all []*notes) {
	for _, r := range rows {
		i := slices.IndexFunc(all, func(n *notes) bool {
			return n.state == r.State && n.key == len(r.Key) && n.value == len(r.Value)
		})
		if i < 0 {
			i = len(all)
			all = append(all, &notes{state: r.State, key: len(r.Key), value: len(r.Value)})
		}
		n := all[i]
		n.ids = append(n.ids, r.ID)
		n.keys = append(n.keys, r.Key...)
		n.values = append(n.values, r.Value...)
	}
	return all
}

// Settle completes pending commands, and returns how many: one that is pending no longer is left as it is.
func (t *Table) Settle(ctx context.Context, q durable.Querier, rows []Row) (n int64, err error) {
	if t.Postgres {
		done := t.update(ctx, q, rows, durable.Pending)
		return done.n, done.err
	}
	for rows := range slices.Chunk(rows, chunk) {
		args := []any{time.Now().UnixMilli()}
		for _, r := range rows {
			args = append(args, r.ID, int64(r.State), r.Value)
		}
		done := affected(q.ExecContext(ctx, `WITH now(at) AS (VALUES (?1)), c(id, state, value) AS (VALUES `+values(len(rows), "(?, ?, ?)")+`)
			UPDATE groupcommit_promises AS p SET state = c.state, value = c.value, completed_at = ?1, lease_owner = NULL, lease_until = NULL
			FROM c WHERE p.id = c.id AND p.state = 0`, args...))
		if done.err != nil {
			return n, done.err
		}
		n += done.n
	}
	return n, nil
}

// now is PostgreSQL's time, by which the ages of promises are judged: all programs have the same. As a query of its own it is
// evaluated once, and not for every row. In SQLite there is this machine's time only.
const now = "(SELECT (extract(epoch FROM statement_timestamp()) * 1000)::bigint)"

// datedAnew is how long after its claim a command may end without being dated anew. The age of a promise is that of its
// completion.
const datedAnew = time.Second / 2

// update is PostgreSQL's, of rows that are in a state.
func (t *Table) update(ctx context.Context, q durable.Querier, rows []Row, from durable.State) count {
	var all count
	for rows := range pieces(rows) {
		c := t.updatePiece(ctx, q, rows, from)
		if c.err != nil {
			return c
		}
		all.n += c.n
	}
	return all
}

func (t *Table) updatePiece(ctx context.Context, q durable.Querier, rows []Row, from durable.State) count {
	states, vs := make([]string, len(rows)), make([]string, len(rows))
	for i, r := range rows {
		states[i], vs[i] = fmt.Sprint(int(r.State)), hex.EncodeToString(r.Value)
	}
	return affected(q.ExecContext(ctx, `UPDATE groupcommit_promises p SET state = c.state::smallint, value = decode(c.value, 'hex'),
		completed_at = `+now+`, lease_owner = NULL, lease_until = NULL
		FROM unnest($1::text[], $2::text[], $3::text[]) AS c(id, state, value) WHERE p.id = c.id AND p.state = $4::smallint`,
		array(idsOf(rows)), array(states), array(vs), int64(from)))
}

// Read returns those rows of the ids that are in the table, whatever their kind.
func (t *Table) Read(ctx context.Context, q durable.Querier, ids []string) (map[string]Row, error) {
	in, list := t.in(ids)
	rows, err := scan(q.QueryContext(ctx, "SELECT "+columns+" FROM groupcommit_promises WHERE id "+in, list))
	if err != nil {
		return nil, err
	}
	found := make(map[string]Row, len(rows))
	for _, r := range rows {
		found[r.ID] = r
	}
	return found, nil
}

// columns are those that scan reads.
const columns = "id, kind, state, create_key, value, param, lease_owner, created_at, timeout"

// in is a condition that something is one of the ids, which are the statement's first argument.
func (t *Table) in(ids []string) (condition, arg string) {
	if t.Postgres {
		return "= ANY ($1::text[])", array(ids)
	}
	return "IN (SELECT value FROM json_each($1))", jsonArray(ids)
}

func jsonArray(ids []string) string {
	b, _ := json.Marshal(ids) // strings
	return string(b)
}

// chunk is how many rows a statement of SQLite has: a longer text is hardly faster.
const chunk = 64

// values is a list of so many rows for VALUES.
func values(n int, row string) string { return strings.Repeat(row+", ", n-1) + row }

// A count is what a statement has affected.
type count struct {
	n   int64
	err error
}

func affected(res sql.Result, err error) count {
	if err != nil {
		return count{0, err}
	}
	n, err := res.RowsAffected()
	return count{n, err}
}

// complete is the error of a statement that was to concern each row.
func complete(rows int, c count) error {
	if c.err == nil && c.n != int64(rows) {
		return fmt.Errorf("groupcommit: the outcomes of %d commands could not be recorded: groupcommit_promises has taken %d", rows, c.n)
	}
	return c.err
}

func scan(rows *sql.Rows, err error) (found []Row, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r Row
		var key []byte
		var kind, owner sql.NullString
		var created, timeout sql.NullInt64
		if err := rows.Scan(&r.ID, &kind, &r.State, &key, &r.Value, &r.Param, &owner, &created, &timeout); err != nil {
			return nil, err
		}
		r.Kind, r.Key, r.Owner, r.Created = kind.String, durable.Key(key), owner.String, time.UnixMilli(created.Int64)
		if timeout.Valid {
			r.Timeout = time.UnixMilli(timeout.Int64)
		}
		found = append(found, r)
	}
	return found, rows.Err()
}

func strs(rows *sql.Rows, err error) (found []string, _ error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		found = append(found, s)
	}
	return found, rows.Err()
}

func idsOf(rows []Row) []string {
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	return ids
}

// array is the text form of a text[], which every mode of pgx sends as it is.
func array(elements []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range elements {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		escape.WriteString(&b, e)
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
