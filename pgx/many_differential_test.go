package pgx_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/engine"
	"github.com/groupcommit/groupcommit/internal/difftest"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/groupcommit/groupcommit/pgx"
	"github.com/stretchr/testify/require"
)

// manyProgram inserts rows into one random table, group by group, while its definition changes. Most tables may have many rows, and
// the others have code by which a program could tell.
type manyProgram struct {
	table  string
	schema []string
	steps  []manyStep
}

// manyStep is a change of the table, or a group of calls.
type manyStep struct {
	change string
	calls  []call
}

// A manyTest runs random programs whose groups have statements of many rows, and compares what they see on either driver.
type manyTest[P any] struct {
	usual int // programs
	opts  []groupcommit.Option
	new   func(*rand.Rand) P
	both  func(P, diffBench) (plain, ours []string, err error)
	steps func(P) int
	less  func(P, func(P) bool)
}

// run returns how many groups there were, and how many of them had statements of many rows. Statements of 3 and 2 rows are there for the
// mixtures that long ones hardly make.
func (m manyTest[P]) run(t *testing.T) (groups, many int64) {
	t.Helper()
	var all atomic.Int64
	var engines []engine.Engine
	dsn := []pgtest.DSNOption{pgtest.Param("groupcommit_mode", "transaction"), pgtest.Param("synchronous_commit", "off")}
	benches := make(chan diffBench, runtime.GOMAXPROCS(0))
	for i := range cap(benches) {
		engines = append(engines, pgx.AlwaysMany([][]int{{3, 2}, {10, 4}}[i%2]...))
		benches <- newBench(t, dsn, append([]groupcommit.Option{groupcommit.WithEngine(engines[i]), groupcommit.ManyRows(true), groupcommit.LockTimeout(0)}, m.opts...)...)
	}
	difftest.Test[P]{
		Usual: m.usual,
		Tries: 2,
		New:   m.new,
		Run: func(p P) (string, error) {
			b := <-benches
			defer func() { benches <- b }()
			plain, ours, err := m.both(p, b)
			if err != nil {
				return "", err
			}
			for i := range plain {
				if plain[i] != ours[i] {
					return fmt.Sprintf("answer %d\nplain: %s\nours:  %s", i, plain[i], ours[i]), nil
				}
			}
			all.Add(int64(m.steps(p)))
			return "", nil
		},
		Less: m.less,
		Show: func(p P) string { return fmt.Sprintf("%#v", p) },
	}.All(t)
	for _, e := range engines {
		many += pgx.ManyGroups(e)
	}
	t.Logf("%d groups, %d of them with statements of many rows", all.Load(), many)
	return all.Load(), many
}

func TestDifferentialAProgramCannotTellManyRows(t *testing.T) {
	groups, many := manyTest[manyProgram]{
		usual: 20,
		new:   newManyProgram,
		both: func(p manyProgram, b diffBench) (plain, ours []string, err error) {
			if plain, err = p.on(b.plain, nil); err == nil {
				ours, err = p.on(b.ours, b.ours.oneGroup)
			}
			return plain, ours, err
		},
		steps: func(p manyProgram) int { return len(p.steps) },
		less:  manyProgram.less,
	}.run(t)
	require.Greater(t, many, groups/3)
}

// oneGroup runs the calls as one group, in their order.
func (r *rig) oneGroup(calls []call) (answers []string) {
	for _, p := range r.promisesOfOne(calls) {
		answers = append(answers, resultText(p.Await(background)))
	}
	return answers
}

// thatRow has the time, and what was there when the row's own caller ran it, behind its group.
var thatRow = regexp.MustCompile(`row contains \(.*?\)\.`)

// on runs the program. together runs a group; nil: the calls are made one by one.
func (p manyProgram) on(r *rig, together func([]call) []string) (seen []string, err error) {
	if _, err := r.plain.Exec("DROP SCHEMA IF EXISTS program CASCADE; CREATE SCHEMA program; " + strings.Join(p.schema, "; ")); err != nil {
		return nil, err
	}
	for _, s := range p.steps {
		if s.change != "" {
			_, err := r.plain.Exec(s.change)
			seen = append(seen, s.change+": "+errorText(err))
			continue
		}
		if together != nil {
			seen = append(seen, together(s.calls)...)
			continue
		}
		for _, c := range s.calls {
			seen = append(seen, resultText(r.plain.Exec(c.query, c.args...)))
		}
	}
	for i := range seen {
		seen[i] = thatRow.ReplaceAllString(seen[i], "#")
	}
	return append(seen, whatIsIn(r, p.table)...), nil
}

// whatIsIn are the rows of a program's tables.
func whatIsIn(r *rig, table string) (all []string) {
	for _, from := range []string{"SELECT row(k, a, b, c, p, n, d)::text FROM " + table + " ORDER BY id, k, a, b", "SELECT what || n FROM seen ORDER BY i"} {
		rows, err := texts(r.plain, from)
		if err != nil { // a step has changed the table so far
			rows = []string{errorText(err)}
		}
		all = append(all, strings.Join(rows, "\n"))
	}
	return all
}

func (p manyProgram) less(yield func(manyProgram) bool) {
	if difftest.Without(p.steps, func(steps []manyStep) bool { return yield(manyProgram{p.table, p.schema, steps}) }) {
		return
	}
	for i, s := range p.steps {
		if difftest.Without(s.calls, func(calls []call) bool {
			steps := append([]manyStep(nil), p.steps...)
			steps[i] = manyStep{calls: calls}
			return len(calls) > 0 && yield(manyProgram{p.table, p.schema, steps})
		}) {
			return
		}
	}
}

// manyGen makes manyPrograms. next is the next key that is new.
type manyGen struct {
	diffGen
	t    string
	next int
}

func newManyProgram(r *rand.Rand) manyProgram {
	g := &manyGen{diffGen: diffGen{Rand: r}, t: fmt.Sprintf("t_%x", r.Uint32())}
	p := manyProgram{table: g.t, schema: g.schema()}
	texts := []string{g.text(), g.text()}
	for range 10 {
		if g.chance(10) {
			p.steps = append(p.steps, manyStep{change: g.change()})
		}
		var calls []call
		for len(calls) < 16 {
			text := texts[min(g.IntN(8), 1)^1]
			for range 1 + g.IntN(12) {
				calls = append(calls, call{text, g.row(text)})
			}
		}
		p.steps = append(p.steps, manyStep{calls: calls})
	}
	return p
}

func (g *manyGen) schema() []string {
	id := g.one("BIGSERIAL", "BIGINT GENERATED ALWAYS AS IDENTITY", "BIGINT GENERATED BY DEFAULT AS IDENTITY (START 7)")
	columns := []string{"id " + id, "k BIGINT" + g.one("", " PRIMARY KEY", " UNIQUE DEFERRABLE", " UNIQUE DEFERRABLE INITIALLY DEFERRED"),
		"a " + g.one("INT", "SMALLINT", "NUMERIC(5,2)", "FLOAT8", "BIGINT NOT NULL") + g.one("", " DEFAULT 7", " CHECK (a < 90)", " CHECK (a BETWEEN 0 AND 90 AND NOT a = 13)"),
		"b " + g.one("TEXT", "VARCHAR(5)", "CHAR(5)", "TEXT COLLATE \"C\"", "VARCHAR(5) NOT NULL") + g.one("", " DEFAULT 'x'", " CHECK (char_length(b) < 5)", " CHECK (b IN ('a', 'bb', '1', '2', '3'))"),
		"c " + g.one("mood", "mood DEFAULT 'fine'", "BOOL DEFAULT true", "INT[]", "JSONB DEFAULT '{}'", "TIMESTAMPTZ"),
		"p BIGINT" + g.one("", " REFERENCES parent", " REFERENCES parent DEFERRABLE INITIALLY DEFERRED", " REFERENCES parent ON DELETE CASCADE"),
		"n BIGINT" + g.one("", "", " GENERATED ALWAYS AS (k * 2) STORED", " GENERATED ALWAYS AS (100 / (k - 13)) STORED"),
		"d INT" + g.one("", "", " DEFAULT 1 + 1"), "at TIMESTAMPTZ" + g.one("", " DEFAULT now()", " DEFAULT CURRENT_TIMESTAMP")}
	statements := []string{
		"CREATE TABLE seen (i BIGSERIAL, what TEXT, n BIGINT)",
		"CREATE TABLE parent (k BIGINT PRIMARY KEY); INSERT INTO parent SELECT generate_series(0, 79)",
		"CREATE TYPE mood AS ENUM ('fine', 'so-so')",
		"CREATE FUNCTION rows() RETURNS BIGINT LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM program." + g.t + "); END'",
		"CREATE FUNCTION always_rows(BIGINT) RETURNS BIGINT IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM program." + g.t + "); END'",
		"CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO program.seen (what, n) VALUES (TG_NAME, (SELECT count(*) FROM program." + g.t + ")); RETURN NEW; END'",
		"CREATE FUNCTION note() RETURNS BOOL LANGUAGE plpgsql AS 'BEGIN INSERT INTO program.seen (what, n) VALUES (''note'', (SELECT count(*) FROM program." + g.t + ")); RETURN true; END'",
		"CREATE TABLE " + g.t + " (" + strings.Join(columns, ", ") + ")",
	}
	if g.chance(25) {
		statements = append(statements, "CREATE UNIQUE INDEX ON "+g.t+g.one(" ((k % 50), a)", " (b) WHERE k > 20", " (k DESC, p)", " USING btree (abs(k))"))
	}
	if g.chance(25) {
		statements = append(statements, g.change())
	}
	return statements
}

// change gives the table something by which a program could tell, or takes it away. None of it has a row fail because of the others: a
// call that fails runs alone behind its group.
func (g *manyGen) change() string {
	return strings.ReplaceAll(g.one(
		"CREATE TRIGGER s1 AFTER INSERT ON t FOR EACH STATEMENT EXECUTE FUNCTION see()",
		"CREATE TRIGGER s2 BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION see()",
		"CREATE TRIGGER s3 AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION see()",
		"CREATE CONSTRAINT TRIGGER s4 AFTER INSERT ON t DEFERRABLE FOR EACH ROW EXECUTE FUNCTION see()",
		"CREATE RULE r AS ON INSERT TO t DO ALSO INSERT INTO seen (what, n) VALUES ('rule', rows())",
		"ALTER TABLE t ALTER d SET DEFAULT rows()",
		"ALTER TABLE t ALTER d SET DEFAULT 3",
		"ALTER TABLE t ADD CHECK (note()) NOT VALID",
		"ALTER TABLE t ADD CHECK (a < 80) NOT VALID",
		"ALTER TABLE t DROP d; ALTER TABLE t ADD d BIGINT GENERATED ALWAYS AS (always_rows(k)) STORED",
		"ALTER TABLE t ADD EXCLUDE (k WITH =)",
		"ALTER TABLE t ALTER b TYPE TEXT",
		"ALTER TABLE t ALTER a SET DEFAULT 5; ALTER TABLE t ALTER b DROP NOT NULL",
		"DROP TRIGGER IF EXISTS s1 ON t; DROP TRIGGER IF EXISTS s2 ON t; DROP TRIGGER IF EXISTS s3 ON t; DROP RULE IF EXISTS r ON t",
		"ALTER TABLE t RENAME TO old_t; CREATE TABLE t (LIKE old_t INCLUDING ALL)",
		"ALTER TABLE t RENAME TO old_t; CREATE VIEW t AS SELECT * FROM old_t",
		"ALTER TABLE t RENAME TO old_t; CREATE TABLE t (LIKE old_t INCLUDING DEFAULTS) PARTITION BY RANGE (k); CREATE TABLE t_0 PARTITION OF t DEFAULT",
	), " t", " "+g.t)
}

// text is an insert of one row.
func (g *manyGen) text() string {
	columns, values := []string{"k", "a"}, []string{"$1", "$2"}
	if g.chance(70) {
		columns, values = append(columns, "b"), append(values, g.one("$3", "$3", "'1'"))
	}
	if g.chance(70) {
		columns, values = append(columns, "p"), append(values, g.one("$2", "NULL", "'1'", "7"))
	}
	return "INSERT INTO " + g.t + " (" + strings.Join(columns, ", ") + ") VALUES (" + strings.Join(values, ", ") + ")" + g.one("", " ", " -- a row")
}

// row are a text's arguments. Few are wrong.
func (g *manyGen) row(text string) []any {
	g.next++
	args := []any{g.next, g.IntN(80)}
	if strings.Contains(text, "$3") {
		args = append(args, g.one("1", "2", "3"))
	}
	switch g.IntN(400) {
	case 0:
		args[0] = g.IntN(g.next + 1)
	case 1:
		args[1] = []any{nil, 13, 95, 1 << 40, "seven"}[g.IntN(5)]
	case 2:
		args[len(args)-1] = []any{"dddddd", "7", nil, "\xff", "a\x00"}[g.IntN(5)]
	case 3:
		args = args[1:]
	}
	return args
}
