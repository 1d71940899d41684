package sqlite3_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// A concurrent program is many steps, each of a goroutine or promise of its own. Its outcome must be that of the same
// steps one after the other, in some order, on the plain driver. The order is known: OnGroup tells that of the calls
// in a group, and the log, which triggers write, that of whatever else was applied. A step that left no trace may have
// been anywhere between: it is looked for at each place.
func TestDifferentialConcurrentCallsHaveASerialOrder(t *testing.T) {
	diffSeeds(t, 60, func(t *testing.T, seed uint64) {
		run := newConcurrent(t, seed)
		run.run()
		if wrong := run.explain(); wrong != "" {
			t.Fatalf("seed %d, maxlen %d, %d groups:\n%s\n\n%s", seed, run.maxLen, len(run.groups), run, wrong)
		}
	})
}

// diffStep is what one goroutine does, and what came of it.
type diffStep struct {
	ops     []diffOp // more than one: a transaction
	alone   bool     // does not join a group
	answers []string
	began   int64 // by a clock that ticks at the beginning and the end of every step
	ended   int64
}

func (s *diffStep) tag() int64 { return s.ops[len(s.ops)/2].tag }

type concurrent struct {
	t      *testing.T
	maxLen int
	steps  []*diffStep
	final  string
	logged []logEntry // the first one of each step, in order

	clock  atomic.Int64
	reader *sql.DB // for observe
	groups []diffGroup
}

// diffGroup is a group's calls, as they were executed, and the log's last entry after it.
type diffGroup struct {
	tags  []int64
	after int64
}

type logEntry struct{ seq, tag int64 }

var concurrentDrivers atomic.Int64

func newConcurrent(t *testing.T, seed uint64) *concurrent {
	g := &diffGen{Rand: rand.New(rand.NewPCG(seed, 2)), tag: firstTag, concurrent: true}
	run := &concurrent{t: t, maxLen: []int{3, 8, 1000}[g.IntN(3)]}
	for range 20 + g.IntN(40) {
		g.tag++
		run.steps = append(run.steps, g.step())
	}
	return run
}

func (g *diffGen) step() *diffStep {
	op := diffOp{what: "exec", tag: g.tag}
	without := func(words ...string) {
		for {
			op.sql = g.dml(&op)
			op.args = g.args
			if !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(op.sql, w) }) {
				return
			}
		}
	}
	switch n := g.IntN(20); {
	case n < 13:
		without("OR ROLLBACK")
		op.what = g.one("exec", "go", "prepared")
		return &diffStep{ops: []diffOp{op}}
	case n < 14:
		for !strings.Contains(op.sql, "OR ROLLBACK") {
			without("deferred", " auto ") // see fits; and a row of auto that is ignored has its number nevertheless
		}
		return &diffStep{ops: []diffOp{op}, alone: true}
	case n < 16:
		without("deferred", " auto ", "DELETE") // a DELETE leaves no trace
		op.sql, op.what = op.sql+" RETURNING *", g.one("query", "first")
		return &diffStep{ops: []diffOp{op}, alone: true}
	case n < 18: // it leaves a trace in any case
		op.sql, op.counted = fmt.Sprintf("INSERT INTO log (tab, tag) VALUES ('several', %d); %s", g.tag, g.several()), false
		return &diffStep{ops: []diffOp{op}, alone: true}
	default:
		step := &diffStep{alone: true, ops: []diffOp{{what: "begin"},
			{what: "exec", tag: g.tag, sql: fmt.Sprintf("INSERT INTO log (tab, tag) VALUES ('tx', %d)", g.tag)}}}
		for range 1 + g.IntN(4) {
			without("ROLLBACK", "onrollback", "raising", "deferred") // what ends the transaction leaves no trace of it
			step.ops = append(step.ops, op)
		}
		step.ops = append(step.ops, diffOp{what: "commit"})
		return step
	}
}

func (run *concurrent) open(driverName string) *sql.DB {
	return run.openFile(driverName, filepath.Join(run.t.TempDir(), "diff.db"))
}

func (run *concurrent) openFile(driverName, file string) *sql.DB {
	db, err := sql.Open(driverName, "file:"+file+"?_fk=1&_journal=WAL&_sync=OFF")
	require.NoError(run.t, err)
	for _, q := range diffSchema {
		_, err := db.Exec(q)
		require.NoError(run.t, err, q)
	}
	return db
}

// run starts all steps while a transaction keeps them waiting, so that groups form.
func (run *concurrent) run() {
	name := fmt.Sprintf("sqlite3-concurrent-%d", concurrentDrivers.Add(1))
	groupcommit.Register(name, &mattn.SQLiteDriver{}, groupcommit.MaxLen(run.maxLen), groupcommit.OnGroup(run.observe))
	file := filepath.Join(run.t.TempDir(), "diff.db")
	db := run.openFile(name, file)
	defer db.Close()
	reader, err := sql.Open("sqlite3", "file:"+file)
	require.NoError(run.t, err)
	defer reader.Close()
	run.reader = reader
	hold, err := db.Begin()
	require.NoError(run.t, err)
	_, err = hold.Exec("INSERT INTO log (tab) VALUES ('hold')")
	require.NoError(run.t, err)

	var done sync.WaitGroup
	batched := 0
	for _, step := range run.steps {
		done.Go(func() { run.take(db, step) })
		if !step.alone {
			batched++
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Microsecond) {
		st, err := groupcommit.StatsOf(db)
		require.NoError(run.t, err)
		if st.Queued >= batched {
			break
		}
		require.True(run.t, time.Now().Before(deadline), "%d calls are in the queue, and not %d:\n%s", st.Queued, batched, run)
	}
	require.NoError(run.t, hold.Rollback())
	done.Wait()
	run.final = dump(db)
	rows, err := reader.Query("SELECT min(seq), tag FROM log WHERE tag >= ? GROUP BY tag ORDER BY 1", firstTag)
	require.NoError(run.t, err)
	defer rows.Close()
	for rows.Next() {
		var l logEntry
		require.NoError(run.t, rows.Scan(&l.seq, &l.tag))
		run.logged = append(run.logged, l)
	}
	require.NoError(run.t, rows.Err())
}

func (run *concurrent) take(db *sql.DB, step *diffStep) {
	step.began = run.clock.Add(1)
	r := diffRunner{db: db, on: db}
	for _, op := range step.ops {
		if op.what != "prepared" {
			step.answers = append(step.answers, r.do(op))
			if op.what == "begin" && r.tx == nil {
				break
			}
			continue
		}
		st, err := db.Prepare(op.sql)
		if err != nil {
			step.answers = append(step.answers, errorText(err))
			continue
		}
		step.answers = append(step.answers, resultText(op)(st.Exec(op.args...)))
		st.Close()
	}
	step.ended = run.clock.Add(1)
}

// observe is told of each group while it still has the writer's turn, so the log is as the group left it.
func (run *concurrent) observe(info groupcommit.GroupInfo) {
	if run.reader == nil {
		return // the schema is being made
	}
	var g diffGroup
	for _, c := range info.Calls {
		var args []any
		for _, a := range c.Args {
			args = append(args, a.Value)
		}
		g.tags = append(g.tags, tagOf(c.Query, args))
	}
	err := run.reader.QueryRow("SELECT coalesce(max(seq), 0) FROM log").Scan(&g.after)
	if err != nil {
		run.t.Error(err)
	}
	run.groups = append(run.groups, g)
}

// explain returns what no serial order explains; "" if one explains everything.
func (run *concurrent) explain() string {
	order, traceless := run.serialOrder()
	if wrong := realTime(order); wrong != "" {
		return wrong
	}
	plain := run.open("sqlite3")
	defer plain.Close()
	plain.SetMaxOpenConns(1)
	for i := 0; i <= len(order); i++ {
		traceless = slices.DeleteFunc(traceless, func(s *diffStep) bool { return run.fits(plain, s) })
		if i == len(order) {
			break
		}
		again := &diffStep{ops: order[i].ops}
		run.take(plain, again)
		if !slices.Equal(order[i].answers, again.answers) {
			return fmt.Sprintf("step %d in serial order: %v\nplain: %q\nours:  %q", i, order[i].ops, again.answers, order[i].answers)
		}
	}
	if len(traceless) > 0 {
		return fmt.Sprintf("the answer fits nowhere: %v\nours:  %q", traceless[0].ops, traceless[0].answers)
	}
	if final := dump(plain); final != run.final {
		return diffLines(final, run.final)
	}
	return ""
}

// serialOrder merges the groups with the steps that only the log knows: such a step was before a group if it was in
// the log by then.
func (run *concurrent) serialOrder() (order, traceless []*diffStep) {
	byTag := make(map[int64]*diffStep)
	for _, s := range run.steps {
		byTag[s.tag()] = s
	}
	placed := make(map[*diffStep]bool)
	place := func(tag int64) {
		s := byTag[tag]
		require.NotNil(run.t, s, "a call of nobody's: %d", tag)
		require.False(run.t, placed[s], "executed twice: %v", s.ops)
		order, placed[s] = append(order, s), true
	}
	logged := run.logged
	for _, g := range run.groups {
		for len(logged) > 0 && logged[0].seq <= g.after {
			if byTag[logged[0].tag].alone {
				place(logged[0].tag)
			}
			logged = logged[1:]
		}
		for _, tag := range g.tags {
			place(tag)
		}
	}
	for _, l := range logged {
		if byTag[l.tag].alone {
			place(l.tag)
		}
	}
	for _, s := range run.steps {
		if !placed[s] {
			traceless = append(traceless, s)
		}
	}
	return order, traceless
}

// realTime checks that no step comes before one that had been answered when it began.
func realTime(order []*diffStep) string {
	for i, later := range order {
		for _, earlier := range order[:i] {
			if later.ended < earlier.began {
				return fmt.Sprintf("%v was answered before %v began, and executed after it", later.ops, earlier.ops)
			}
		}
	}
	return ""
}

// fits says that a step that changed nothing is answered on the plain driver, at this place, as it was on ours. It is
// taken back: at another place it might change something.
func (run *concurrent) fits(plain *sql.DB, s *diffStep) bool {
	_, err := plain.Exec("SAVEPOINT here")
	require.NoError(run.t, err)
	again := &diffStep{ops: s.ops}
	run.take(plain, again)
	plain.Exec("ROLLBACK TO here") // there is none if the step has ended the transaction
	plain.Exec("RELEASE here")
	return slices.Equal(again.answers, s.answers)
}

func (run *concurrent) String() string {
	var b strings.Builder
	for _, s := range run.steps {
		for i, op := range s.ops {
			answer := "?"
			if i < len(s.answers) {
				answer = s.answers[i]
			}
			fmt.Fprintf(&b, "%s   -> %s\n", op, answer)
		}
	}
	return b.String()
}
