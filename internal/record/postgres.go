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

// Postgres is the [Dialect] of PostgreSQL. A claim is a row that already has the expected outcome. No other transaction sees
// it before COMMIT, and it is completed anew only if the outcome was another, or came late.
//
// All ids of a transaction are claimed before anything else is locked, and in their order. So two transactions with the same
// ids wait for each other, but not in a circle.
//
// A statement is a function of the expressions in it, because it comes in two forms: with parameters, for any number of
// promises, and with literals, for one promise by the simple protocol. Parameters are texts, which every mode of pgx sends as
// they are, but for those of a claim in a pipeline: see [PostgresRows]. Keys and values are hexadecimal in texts, which needs
// no escaping and no setting. [Of] makes it.
type Postgres struct{ common }

var (
	// PostgresClaim inserts the promises of [PostgresRows] and returns the ids of those that it has inserted.
	PostgresClaim = PostgresClaimNew + unlessThere + " RETURNING id"

	// PostgresClaimNew inserts the promises of [PostgresRows] in their order, which must be that of the ids' bytes, and fails by
	// unique_violation if the id of one is there. unnest reads an array in its order. The parameters have the columns' types, so
	// that nothing is converted row by row.
	PostgresClaimNew = insert("SELECT ", "c.id", "$3::smallint", "c.key", "nullif($4::text, '')", "$5::bytea",
		` FROM unnest($1::text[], $2::bytea[]) AS c(id, key)`)

	// PostgresRead reads the promises of [PostgresIDs], as [PostgresPromise] decodes them.
	PostgresRead = read("= ANY ($1::text[])")

	// PostgresCorrect gives the promises of [PostgresCorrections] another value, or fails.
	PostgresCorrect = correct("c.value", "FROM unnest($1::text[], $2::text[]) AS c(id, value) WHERE p.id = c.id", "cardinality($1::text[])")

	// completeRows completes promises that are in a state.
	completeRows = update("c.value", ", state = c.state::smallint, lease_owner = NULL, lease_until = NULL",
		"FROM unnest($1::text[], $2::text[], $3::text[]) AS c(id, state, value) WHERE p.id = c.id AND p.state = $4::text::smallint")

	// completeAll is completeRows, and fails unless that completes all its rows: see correct.
	completeAll = "WITH completed AS (" + completeRows + " RETURNING p.id) SELECT CASE WHEN count(*) <> cardinality($1::text[]) THEN ('" + taken +
		"' || count(*) || ' of ' || cardinality($1::text[]))::int END FROM completed"
)

// now is the server's time, by which the ages of promises are judged: all programs have the same. As a query of its own it is
// evaluated once, and not for every row.
const now = "(SELECT (extract(epoch FROM statement_timestamp()) * 1000)::bigint)"

// insert inserts completed promises. before and after make rows of what stands between them.
func insert(before, id, state, key, kind, value, after string) string {
	return "INSERT INTO groupcommit_promises (id, state, create_key, kind, value, created_at, completed_at) " + before + id + ", " + state +
		", " + key + ", " + kind + ", " + value + ", " + now + ", " + now + after
}

// unlessThere has an insert leave out the promises whose ids are there.
const unlessThere = " ON CONFLICT (id) DO NOTHING"

// read reads promises by a condition on their id.
func read(is string) string {
	return "SELECT id, state::text, coalesce(encode(create_key, 'hex'), ''), coalesce(encode(value, 'hex'), '')" + byID + is
}

const byID = " FROM groupcommit_promises WHERE id "

// update gives promises another value, whose age is that of their completion.
func update(value, more, which string) string {
	return "UPDATE groupcommit_promises p SET value = decode(" + value + ", 'hex'), completed_at = " + now + more + " " + which
}

// correct is an update that fails unless it has updated so many rows: a trigger may ignore it, or a neighbour's statement
// have deleted a row. COMMIT is sent together with it, so it is the server that must count. SQL has no function that raises
// an error; a text that is not a number does, and the error shows it.
func correct(value, which, rows string) string {
	return "WITH corrected AS (" + update(value, "", which) + " RETURNING p.value = decode(" + value + ", 'hex') AS taken)" +
		" SELECT CASE WHEN count(*) FILTER (WHERE taken) <> " + rows +
		" THEN ('groupcommit_promises has taken ' || count(*) FILTER (WHERE taken) || ' corrections of ' || " + rows + ")::int END FROM corrected"
}

// Late reports that a promise which was claimed at a time must be dated anew: its age is that of its completion.
func Late(claimed time.Time) bool { return time.Since(claimed) > time.Second/2 }

// PostgresRows are the arguments of [PostgresClaim], in [PostgresFormats]. A binary array is a third of the server's work for
// a text that is one: each element of that is taken apart, and a key is hexadecimal.
func PostgresRows(ids []string, keys []durable.Key, state durable.State, kind string, value []byte) [][]byte {
	return [][]byte{binaryArray(textOID, ids), binaryArray(byteaOID, keys), number(state), []byte(kind), append([]byte{}, value...)}
}

// PostgresFormats are the formats of [PostgresRows], by PostgreSQL's numbers for them.
var PostgresFormats = []int16{1, 1, 0, 0, 1}

// PostgresIDs are the arguments of [PostgresRead].
func PostgresIDs(ids []string) [][]byte { return [][]byte{array(ids)} }

// PostgresCorrections are the arguments of [PostgresCorrect].
func PostgresCorrections(ids []string, values [][]byte) [][]byte {
	return [][]byte{array(ids), hexArray(values)}
}

// PostgresPromise is a row of [PostgresRead].
func PostgresPromise(id, state, key, value string) durable.Promise {
	n, _ := strconv.Atoi(state)
	k, _ := hex.DecodeString(key)
	data, _ := hex.DecodeString(value)
	return durable.Promise{ID: id, State: durable.State(n), CreateKey: durable.Key(k), Value: durable.Value{Data: data}}
}

// PostgresInsertOne is the statement that inserts a completed promise, unless there is one of its id.
func PostgresInsertOne(id string, key durable.Key, state durable.State, value []byte) string {
	return insert("VALUES (", literal(id), string(number(state)), bytesLiteral([]byte(key)), "NULL", bytesLiteral(value), ")") + unlessThere
}

// PostgresReadOne is [PostgresRead] for one id.
func PostgresReadOne(id string) string { return read("= " + literal(id)) }

// PostgresCorrectOne is [PostgresCorrect] for one promise.
func PostgresCorrectOne(id string, value []byte) string {
	return correct(hexLiteral(value), "WHERE id = "+literal(id), "1")
}

func (Postgres) Read(ids []string) Statement {
	return Statement{"SELECT " + columns + byID + "= ANY ($1::text[])", texts(PostgresIDs(ids))}
}

func (Postgres) Claim(t *Table, rows []Row) []Statement {
	rows = slices.SortedFunc(slices.Values(rows), func(a, b Row) int { return strings.Compare(a.ID, b.ID) })
	keys := make([]durable.Key, len(rows))
	for i, r := range rows {
		keys[i] = r.Key
	}
	args := [][]byte{array(idsOf(rows)), byteaArray(keys), number(durable.Resolved), []byte(t.Kind), append([]byte(`\x`), hexOf(t.Expected)...)}
	return []Statement{{PostgresClaim, texts(args)}}
}

func (p Postgres) Record(t *Table, rows []Row, claimed time.Time) iter.Seq2[Statement, int] {
	return completion(unexpected(t, rows, claimed), durable.Resolved)
}

// unexpected returns the rows that are to be completed anew.
func unexpected(t *Table, rows []Row, claimed time.Time) []Row {
	if Late(claimed) {
		return rows
	}
	return slices.DeleteFunc(slices.Clone(rows), func(r Row) bool {
		return r.State == durable.Resolved && string(r.Value) == string(t.Expected)
	})
}

func (Postgres) Last(t *Table, rows []Row, from durable.State, claimed time.Time) (last []Statement, ok bool) {
	if from == durable.Resolved {
		rows = unexpected(t, rows, claimed)
	}
	for s := range completion(rows, from) {
		last = append(last, Statement{completeAll, s.Args})
	}
	return last, true
}

func (Postgres) Settle(rows []Row) iter.Seq[Statement] {
	return func(yield func(Statement) bool) {
		for s := range completion(rows, durable.Pending) {
			if !yield(s) {
				return
			}
		}
	}
}

// completion yields the statements that complete rows which are in a state, with how many rows each is for.
func completion(rows []Row, from durable.State) iter.Seq2[Statement, int] {
	return func(yield func(Statement, int) bool) {
		for piece := range pieces(rows) {
			states, values := make([]string, len(piece)), make([][]byte, len(piece))
			for i, r := range piece {
				states[i], values[i] = string(number(r.State)), r.Value
			}
			args := texts([][]byte{array(idsOf(piece)), array(states), hexArray(values), number(from)})
			if !yield(Statement{completeRows, args}, len(piece)) {
				return
			}
		}
	}
}

// sweepBlocks are a piece for Old: some 900 rows.
const sweepBlocks = 16

// Old reads blocks. Until version 14 a range of ctids has the server read the whole table, and only a list of all that there
// may be in these blocks has it read no others, which takes some ten times as long. The table may have been made with partitions,
// whose blocks are counted each from 0: the piece is in all of them.
func (Postgres) Old(at Place, age time.Duration) Statement {
	in := "ctid = ANY (ARRAY(SELECT format('(%s,%s)', block, item)::tid FROM generate_series($1::bigint, $1 + $2::bigint - 1) AS block," +
		" generate_series(1, " + blockSize + " / 28) AS item))" // a row takes 24 bytes or more, and 4 in the block's list of its items
	if at.Version >= 140000 {
		in = "ctid >= format('(%s,0)', $1::bigint)::tid AND ctid < format('(%s,0)', $1 + $2::bigint)::tid"
	}
	return Statement{`WITH partitions(name) AS (SELECT to_regclass('groupcommit_promises') UNION ALL SELECT relid FROM pg_partition_tree(to_regclass('groupcommit_promises')))
		SELECT $1 + $2, current_setting('server_version_num')::bigint,
			(SELECT coalesce(max(pg_relation_size(name)), 0) FROM partitions) <= ($1 + $2) * ` + blockSize + `, count(*), coalesce(array_agg(place), '{}')::text
		FROM (SELECT ctid AS place FROM groupcommit_promises WHERE ` + in + " AND " + postgresOld("$3") + " LIMIT $4) AS old",
		[]any{at.From, int64(sweepBlocks), age.Milliseconds(), int64(sweepMost)}}
}

const blockSize = "current_setting('block_size')::int"

// Forget chooses the rows once, by its WITH.
func (Postgres) Forget(places string, age time.Duration) Statement {
	return Statement{"WITH old AS (SELECT id FROM groupcommit_promises WHERE ctid = ANY ($1::text::tid[]) AND " + postgresOld("$2") + ` FOR UPDATE SKIP LOCKED)
		DELETE FROM groupcommit_promises WHERE id IN (SELECT id FROM old)`, []any{places, age.Milliseconds()}}
}

// postgresOld is the condition that a promise is older than an age, and is none without it.
func postgresOld(age string) string {
	return "id <> '' AND completed_at < " + now + " - " + age + "::bigint"
}
