package record

import (
	"encoding/hex"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/groupcommit/groupcommit/durable"
)

// Postgres is the [Dialect] of PostgreSQL. A claim is a row that says already that everything went as expected. Nobody sees it
// before COMMIT, and it is completed anew only where the outcome was another, or came late.
//
// All ids of a transaction are claimed before anything else is locked, and in their order. So two transactions with the same
// ids wait for each other, but not in a circle.
//
// All arguments are texts, which every mode of pgx sends as they are. Keys and values are hexadecimal, which needs no escaping
// and no setting. [Of] makes it.
type Postgres struct{ common }

const (
	// PostgresInsert inserts completed promises, but those whose ids are there: see [PostgresRows].
	PostgresInsert = `INSERT INTO groupcommit_promises (id, state, create_key, kind, value, created_at, completed_at)
		SELECT c.id, $3::text::smallint, decode(c.key, 'hex'), nullif($4::text, ''), decode($5::text, 'hex'), ` + now + `, ` + now + `
		FROM unnest($1::text[], $2::text[]) AS c(id, key) ORDER BY c.id COLLATE "C" ON CONFLICT (id) DO NOTHING`

	// PostgresClaim is PostgresInsert, and returns the ids that were inserted.
	PostgresClaim = PostgresInsert + " RETURNING id"

	// PostgresRead reads the promises of the ids of [PostgresIDs], as [PostgresPromise] decodes them.
	PostgresRead = "SELECT id, state::text, coalesce(encode(create_key, 'hex'), ''), coalesce(encode(value, 'hex'), '')" + fromArray
	fromArray    = " FROM groupcommit_promises WHERE id = ANY ($1::text[])"

	complete = `UPDATE groupcommit_promises p SET state = c.state::smallint, value = decode(c.value, 'hex'), completed_at = ` + now + `,
		lease_owner = NULL, lease_until = NULL
		FROM unnest($1::text[], $2::text[], $3::text[]) AS c(id, state, value) WHERE p.id = c.id AND p.state = $4::text::smallint`

	// PostgresCorrect completes the promises of [PostgresCorrections], and fails unless it has completed all: a trigger may ignore a row,
	// or a neighbour's statement may have deleted it. COMMIT is sent together with it, so it is the server that must count. SQL
	// has no function that raises an error; a text that is not a number does, and the error shows it.
	PostgresCorrect = `WITH corrected AS (` + complete + ` RETURNING p.value = decode(c.value, 'hex') AS taken), counted AS (
			SELECT count(*) FILTER (WHERE taken) AS n, cardinality($1::text[]) AS wanted FROM corrected)
		SELECT CASE WHEN n <> wanted THEN ('groupcommit_promises has taken ' || n || ' corrections of ' || wanted)::int END FROM counted`

	// now is the server's time, by which the ages of promises are judged: all programs have the same. As a query of its own it is
	// evaluated once, and not for every row.
	now = "(SELECT (extract(epoch FROM statement_timestamp()) * 1000)::bigint)"
)

// Late reports that a promise which was claimed at a time must be dated anew: its age is that of its completion.
func Late(claimed time.Time) bool { return time.Since(claimed) > time.Second/2 }

// PostgresRows are the arguments of [PostgresInsert] and [PostgresClaim].
func PostgresRows(ids []string, keys []durable.Key, state durable.State, kind string, value []byte) [][]byte {
	return [][]byte{array(ids), hexArray(keys), number(state), []byte(kind), hexOf(value)}
}

// PostgresIDs are the arguments of [PostgresRead].
func PostgresIDs(ids []string) [][]byte { return [][]byte{array(ids)} }

// PostgresCorrections are the arguments of [PostgresCorrect] for promises that were claimed as resolved, and are, with other
// values.
func PostgresCorrections(ids []string, values [][]byte) [][]byte {
	states := slices.Repeat([]durable.State{durable.Resolved}, len(ids))
	return completions(ids, states, values, durable.Resolved)
}

// completions are the arguments of complete for promises that are in the state from.
func completions(ids []string, states []durable.State, values [][]byte, from durable.State) [][]byte {
	numbers := make([]string, len(states))
	for i, s := range states {
		numbers[i] = string(number(s))
	}
	return [][]byte{array(ids), array(numbers), hexArray(values), number(from)}
}

// PostgresPromise is a row of [PostgresRead].
func PostgresPromise(id, state, key, value string) durable.Promise {
	n, _ := strconv.Atoi(state)
	k, _ := hex.DecodeString(key)
	data, _ := hex.DecodeString(value)
	return durable.Promise{ID: id, State: durable.State(n), CreateKey: durable.Key(k), Value: durable.Value{Data: data}}
}

// Inline returns a text of this package with its arguments in it, for the simple protocol: as literals that no setting reads
// differently.
func Inline(text string, args [][]byte) string {
	var pairs []string
	for i, arg := range args {
		pairs = append(pairs, "$"+strconv.Itoa(i+1), "convert_from(decode('"+hex.EncodeToString(arg)+"', 'hex'), 'UTF8')")
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func (Postgres) Read(ids []string) Statement {
	return Statement{"SELECT " + columns + fromArray, texts(PostgresIDs(ids))}
}

func (Postgres) Claim(t *Table, rows []Row) []Statement {
	keys := make([]durable.Key, len(rows))
	for i, r := range rows {
		keys[i] = r.Key
	}
	return []Statement{{PostgresClaim, texts(PostgresRows(idsOf(rows), keys, durable.Resolved, t.Kind, t.Expected))}}
}

func (p Postgres) Record(t *Table, rows []Row, claimed time.Time) iter.Seq2[Statement, int] {
	if !Late(claimed) {
		rows = slices.DeleteFunc(slices.Clone(rows), func(r Row) bool {
			return r.State == durable.Resolved && string(r.Value) == string(t.Expected)
		})
	}
	return completed(rows, durable.Resolved)
}

func (Postgres) Settle(rows []Row) iter.Seq[Statement] {
	return func(yield func(Statement) bool) {
		for s := range completed(rows, durable.Pending) {
			if !yield(s) {
				return
			}
		}
	}
}

// completed yields the statements that complete rows which are in a state, with how many rows each is for.
func completed(rows []Row, from durable.State) iter.Seq2[Statement, int] {
	return func(yield func(Statement, int) bool) {
		for piece := range pieces(rows) {
			states, values := make([]durable.State, len(piece)), make([][]byte, len(piece))
			for i, r := range piece {
				states[i], values[i] = r.State, r.Value
			}
			if !yield(Statement{complete, texts(completions(idsOf(piece), states, values, from))}, len(piece)) {
				return
			}
		}
	}
}
