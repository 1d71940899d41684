package record_test

import (
	"database/sql"
	"database/sql/driver"
	"path/filepath"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/internal/record"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// separate is a dialect of a database without RETURNING, as MySQL is: what is written is read afterwards.
type separate struct{ record.SQLite }

func (separate) Claim(t *record.Table, rows []record.Row) (all []record.Statement) {
	for _, r := range rows {
		all = append(all, record.Statement{Text: "INSERT OR IGNORE INTO groupcommit_promises (id, state, create_key, kind, value, created_at, lease_owner) VALUES ($1, 1, $2, $3, $4, 1, 'this claim')",
			Args: []any{r.ID, []byte(r.Key), t.Kind, t.Expected}})
	}
	return append(all, record.Statement{Text: "SELECT id FROM groupcommit_promises WHERE lease_owner = 'this claim'"})
}

func (separate) Take(kind, owner string, now, until time.Time, n int) []record.Statement {
	return []record.Statement{
		{Text: "UPDATE groupcommit_promises SET lease_owner = $1, lease_until = $2 WHERE id IN (SELECT id FROM groupcommit_promises WHERE state = 0 AND kind = $3 LIMIT $4)",
			Args: []any{owner, until.UnixMilli(), kind, n}},
		{Text: "SELECT id, kind, state, create_key, value, param, lease_owner, created_at, timeout FROM groupcommit_promises WHERE lease_owner = $1 AND lease_until = $2",
			Args: []any{owner, until.UnixMilli()}},
	}
}

func TestADatabaseMayNeedSeveralStatementsForOne(t *testing.T) {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(t.TempDir(), "test.db"))
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, durable.SQLite.Prepare(background, db))
	table := &record.Table{Dialect: separate{record.Of(durable.SQLite).(record.SQLite)}, Kind: "greet"}
	store(t, db, &record.Table{Dialect: record.Of(durable.SQLite), Kind: "greet"}, []record.Row{{ID: "b", Key: "kb", State: durable.Resolved}})
	within(t, db, func(tx *sql.Tx) {
		found, err := table.Claim(background, tx, []record.Row{{ID: "a"}, {ID: "b"}, {ID: "c"}})
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.Equal(t, durable.Key("kb"), found["b"].Key)
	})
	pending(t, db, table, "", record.Row{ID: "d", Created: noon.Add(time.Second)}, record.Row{ID: "e", Created: noon})
	taken, err := table.Take(background, db, "me", noon, noon.Add(time.Minute), 9)
	require.NoError(t, err)
	require.Len(t, taken, 2)
	require.Equal(t, "e", taken[0].ID)
}

func TestADatabaseThatIsNotKnownHasNoStatements(t *testing.T) {
	require.Nil(t, record.Of(0))
}

// hard are ids that a text, an array or JSON could read differently.
var hard = []string{"plain", `{"\',ä<&>`, "a,b", " ", "NULL", "\n\t\x01", `\x41`, "$1"}

func TestANoteHasAllPromisesOfItsSizes(t *testing.T) {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(t.TempDir(), "test.db"))
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, durable.SQLite.Prepare(background, db))
	var notes record.Notes
	for round := range 2 { // in the same memory
		notes.Reset()
		for i, id := range hard {
			notes.Add(id+" of "+t.Name(), durable.Key([]byte{byte(i), byte(round), 1}), durable.State(1+i%2), []byte{byte(i), 2}[i%2:])
		}
		require.Len(t, notes.All(), 2)
		for i := range notes.All() {
			n := &notes.All()[i]
			var args []any
			for _, v := range n.Args(nil, noon) {
				args = append(args, v)
			}
			res, err := db.Exec(record.SQLiteInsert, args...)
			require.NoError(t, err)
			taken, err := res.RowsAffected()
			require.NoError(t, err)
			require.EqualValues(t, n.Rows, taken)
		}
		var ids record.IDs
		for _, id := range hard {
			ids.Add(id + " of " + t.Name())
		}
		rows, err := db.Query(record.SQLiteRead, ids.JSON())
		require.NoError(t, err)
		for i := range hard {
			require.True(t, rows.Next())
			var id, state, key, value any
			require.NoError(t, rows.Scan(&id, &state, &key, &value))
			p := record.SQLitePromise([]driver.Value{id, state, key, value})
			require.Equal(t, durable.Promise{ID: hard[i] + " of " + t.Name(), State: durable.State(1 + i%2), CreateKey: durable.Key([]byte{byte(i), byte(round), 1}),
				Value: durable.Value{Data: []byte{byte(i), 2}[i%2:]}}, p)
		}
		require.False(t, rows.Next())
		require.NoError(t, rows.Err())
		_, err = db.Exec("DELETE FROM groupcommit_promises WHERE id <> ''")
		require.NoError(t, err)
	}
}

// For each of the two forms of PostgreSQL's statements.
func TestAClaimIsOfAnIDThatIsNotThereAndACorrectionOfOneThatIs(t *testing.T) {
	conn, err := pgx.Connect(background, pgtest.DSN(t))
	require.NoError(t, err)
	defer conn.Close(background)
	for _, text := range durable.Schema(durable.PostgreSQL) {
		_, err := conn.Exec(background, text)
		require.NoError(t, err)
	}
	keys, values := make([]durable.Key, len(hard)), make([][]byte, len(hard))
	for i := range hard {
		keys[i], values[i] = durable.Key([]byte{0, byte(i), 0xff}), []byte{byte(i), 0, '\\'}
	}
	read := func(text string, args ...[]byte) (all []durable.Promise) {
		t.Helper()
		r := conn.PgConn().ExecParams(background, text, args, nil, nil, nil).Read()
		require.NoError(t, r.Err)
		for _, row := range r.Rows {
			all = append(all, record.PostgresPromise(string(row[0]), string(row[1]), string(row[2]), string(row[3])))
		}
		return all
	}
	affects := func(rows int, text string, args ...[]byte) {
		t.Helper()
		r := conn.PgConn().ExecParams(background, text, args, nil, nil, nil).Read()
		require.NoError(t, r.Err)
		require.EqualValues(t, rows, r.CommandTag.RowsAffected())
	}
	claims := func(rows int, ids []string, keys []durable.Key, value string) {
		t.Helper()
		r := conn.PgConn().ExecParams(background, record.PostgresClaim, record.PostgresRows(ids, keys, durable.Resolved, "", []byte(value)), nil, record.PostgresFormats, nil).Read()
		require.NoError(t, r.Err)
		require.EqualValues(t, rows, r.CommandTag.RowsAffected())
	}
	claims(0, nil, nil, "none")
	claims(len(hard), hard, keys, "expected")
	claims(0, hard, keys, "again")
	affects(1, record.PostgresCorrect, record.PostgresCorrections(hard, values)...)
	lacks := conn.PgConn().ExecParams(background, record.PostgresCorrect, record.PostgresCorrections([]string{"plain", "none"}, values[:2]), nil, nil, nil).Read()
	require.ErrorContains(t, lacks.Err, "groupcommit_promises has taken 1 corrections of 2")
	found := map[string]durable.Promise{}
	for _, p := range read(record.PostgresRead, record.PostgresIDs(append([]string{"none"}, hard...))...) {
		found[p.ID] = p
	}
	require.Len(t, found, len(hard))
	for i, id := range hard {
		want := durable.Promise{ID: id, State: durable.Resolved, CreateKey: keys[i], Value: durable.Value{Data: values[i]}}
		require.Equal(t, want, found[id])
		require.Equal(t, []durable.Promise{want}, read(record.PostgresReadOne(id)))
		affects(0, record.PostgresInsertOne(id, "another", durable.Rejected, nil))

		id += " alone"
		want.ID, want.State = id, durable.Rejected
		affects(1, record.PostgresInsertOne(id, keys[i], durable.Rejected, []byte("expected")))
		affects(1, record.PostgresCorrectOne(id, values[i]))
		require.Equal(t, []durable.Promise{want}, read(record.PostgresReadOne(id)))
	}
	_, err = conn.Exec(background, record.PostgresCorrectOne("none", nil), pgx.QueryExecModeSimpleProtocol)
	require.ErrorContains(t, err, "groupcommit_promises has taken 0 corrections of 1")
}
