package sqlite3_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/difftest"
	"github.com/groupcommit/groupcommit/internal/sqltext"
	mattn "github.com/mattn/go-sqlite3"
)

// A contended program is many steps, each of a goroutine or promise of its own, about the same rows. Its outcome must be
// that of the same steps one after the other, in some order, on the plain driver. The order is known: OnGroup tells that of
// the calls in a group, and the log, which triggers write, that of whatever else was applied, such as a query that its group has
// put off. A step that left no trace may have been anywhere between: it is looked for at each place.
//
// Where commits share syncs, others may have written before OnGroup is called, and between two runs of one group. The log then tells the
// order of all that has left a trace.
func TestDifferentialContendingCallsHaveASerialOrder(t *testing.T) {
	dir := inMemory(t)
	difftest.Test[contended]{
		Usual: 40,
		Tries: 5,
		New:   newContended,
		Run:   func(p contended) (string, error) { return p.differs(dir) },
		Less: func(p contended, yield func(contended) bool) {
			difftest.Without(p.steps, func(steps []*diffStep) bool {
				less := p
				less.steps = steps
				return yield(less)
			})
		},
		Show: contended.String,
	}.All(t)
}

// contended is such a program.
type contended struct {
	maxLen int
	params string // of the data source name
	schema []string
	steps  []*diffStep
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

func newContended(r *rand.Rand) contended {
	g := &diffGen{Rand: r, tag: firstTag}
	p := contended{maxLen: []int{3, 8, 1000}[g.IntN(3)], schema: g.schema([]int{0}, true)}
	rollback := strings.Contains(strings.Join(p.schema, ""), "ROLLBACK")
	for range 20 + g.IntN(40) {
		g.tag++
		p.steps = append(p.steps, g.step(rollback))
	}
	p.params = "_fk=1&_journal=WAL&_sync=OFF"
	if !leavesNoTrace(p.schema) {
		p.params = g.sometimesFULL(100, p.params)
	}
	if p.shares() { // then whatever is written must leave a trace
		p.steps = slices.DeleteFunc(p.steps, func(s *diffStep) bool { return len(s.ops) == 1 && strings.Contains(s.ops[0].sql, "DELETE") })
	}
	return p
}

// leavesNoTrace reports that a statement may change rows and leave no trace of its own: a foreign key's action changes another table, a trigger
// or a conflict there is FAIL, and the statement's own trigger is not reached.
func leavesNoTrace(schema []string) bool {
	all := strings.Join(schema, " ")
	return strings.Contains(all, "FAIL") && (strings.Contains(all, "ON UPDATE ") || strings.Contains(all, "ON DELETE "))
}

// shares reports that commits may share syncs.
func (p contended) shares() bool { return !strings.Contains(p.params, "_sync=OFF") }

// step makes one. rollback: a statement may end its transaction, which leaves no trace of what was in it.
func (g *diffGen) step(rollback bool) *diffStep {
	op := diffOp{what: "exec", tag: g.tag}
	write := func(fits func(query string) bool) {
		for {
			op.sql = g.dml(&op)
			op.args = g.args
			if fits(op.sql) {
				return
			}
		}
	}
	n := g.IntN(20)
	switch {
	case n < 14:
		write(func(string) bool { return true })
		alone := sqltext.Classify(sqltext.SQLite, op.sql).Class != sqltext.Batch
		if !alone {
			op.what = g.one("exec", "go", "prepared")
		}
		return &diffStep{ops: []diffOp{op}, alone: alone}
	case n < 16:
		write(func(query string) bool { return !strings.Contains(query, "DELETE") }) // which leaves no trace
		op.sql, op.what = op.sql+" RETURNING *", g.one("query", "first")
		alone := sqltext.Classify(sqltext.SQLite, op.sql).Class != sqltext.Batch
		return &diffStep{ops: []diffOp{op}, alone: alone}
	case n < 18 || rollback: // it leaves a trace in any case
		op.sql, op.counted = fmt.Sprintf("INSERT INTO log VALUES (0, %d, 'several'); %s", g.tag, g.texts()), false
		return &diffStep{ops: []diffOp{op}, alone: true}
	default:
		step := &diffStep{alone: true, ops: []diffOp{{what: "begin"},
			{what: "exec", tag: g.tag, sql: fmt.Sprintf("INSERT INTO log VALUES (0, %d, 'tx')", g.tag)}}}
		for range 1 + g.IntN(4) {
			write(func(query string) bool { return !strings.Contains(query, "ROLLBACK") })
			step.ops = append(step.ops, op)
		}
		step.ops = append(step.ops, diffOp{what: "commit"})
		return step
	}
}

// contendedRun is one run of a program.
type contendedRun struct {
	contended
	dir    string
	final  string
	logged []logEntry // the first one of each step, in order
	clock  atomic.Int64
	reader *sql.DB // for observe
	groups []diffGroup
	lost   error // of observe
}

// diffGroup is a group's calls, as they were executed, and the log's last entry after it.
type diffGroup struct {
	tags  []int64
	after int64
	again bool // it has run more than once, or in parts
}

type logEntry struct{ seq, tag int64 }

// differs says what no serial order explains; "" if one explains everything.
func (p contended) differs(dir string) (string, error) {
	run := &contendedRun{contended: p, dir: filepath.Join(dir, fmt.Sprint(databases.Add(1)))}
	run.steps = nil
	for _, s := range p.steps {
		run.steps = append(run.steps, &diffStep{ops: s.ops, alone: s.alone})
	}
	if err := os.Mkdir(run.dir, 0o700); err != nil {
		return "", err
	}
	defer os.RemoveAll(run.dir)
	if err := run.run(); err != nil {
		return "", err
	}
	return run.explain()
}

// openDriver is a connector of the plain driver.
type openDriver struct {
	*mattn.SQLiteDriver
	dsn string
}

func (d openDriver) Connect(context.Context) (driver.Conn, error) { return d.Open(d.dsn) }
func (d openDriver) Driver() driver.Driver                        { return d.SQLiteDriver }

func (run *contendedRun) open(file string, opts ...groupcommit.Option) (*sql.DB, error) {
	var c driver.Connector = openDriver{&mattn.SQLiteDriver{}, "file:" + filepath.Join(run.dir, file) + "?" + run.params}
	if opts != nil {
		if strings.Contains(run.params, "groupcommit_sync=full") {
			opts = append(opts, groupcommit.Sync(groupcommit.SyncFull))
		}
		grouped, err := groupcommit.NewConnector(c, opts...)
		if err != nil {
			return nil, err
		}
		c = grouped
	}
	db := sql.OpenDB(c)
	_, err := db.Exec("BEGIN; " + strings.Join(run.schema, "; ") + "; COMMIT")
	if err != nil {
		db.Close()
	}
	return db, err
}

// run starts all steps while a transaction keeps them waiting, so that groups form.
func (run *contendedRun) run() error {
	db, err := run.open("ours", groupcommit.MaxLen(run.maxLen), groupcommit.OnGroup(run.observe))
	if err != nil {
		return err
	}
	defer db.Close()
	if run.reader, err = sql.Open("sqlite3", "file:"+filepath.Join(run.dir, "ours")); err != nil {
		return err
	}
	defer run.reader.Close()
	hold, err := db.Begin()
	if err != nil {
		return err
	}
	defer hold.Rollback()
	if _, err := hold.Exec("INSERT INTO log (tag) VALUES (0)"); err != nil {
		return err
	}
	var done sync.WaitGroup
	batched := 0
	var over atomic.Int64 // before they came into the queue
	for _, step := range run.steps {
		done.Go(func() {
			if run.take(db, step); !step.alone {
				over.Add(1)
			}
		})
		if !step.alone {
			batched++
		}
	}
	if err := awaitQueue(db, batched, &over); err != nil {
		return err
	}
	if err := hold.Rollback(); err != nil {
		return err
	}
	done.Wait()
	if err := sharedWell(db, run.params); err != nil {
		return err
	}
	run.final = dump(db)
	rows, err := run.reader.Query("SELECT min(rowid), tag FROM log WHERE tag >= ? GROUP BY tag ORDER BY 1", firstTag)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var l logEntry
		if err := rows.Scan(&l.seq, &l.tag); err != nil {
			return err
		}
		run.logged = append(run.logged, l)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return run.lost
}

// awaitQueue waits until so many calls are in the queue, or over already.
func awaitQueue(db *sql.DB, n int, over *atomic.Int64) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Microsecond) {
		st, err := groupcommit.StatsOf(db)
		if err != nil || st.Queued+int(over.Load()) >= n {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d calls are in the queue, and not %d", st.Queued, n)
		}
	}
}

func (run *contendedRun) take(db *sql.DB, step *diffStep) {
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

// observe is told of each group. Where no syncs are shared, the group still has the writer's turn then, so the log is as the group left it.
func (run *contendedRun) observe(info groupcommit.GroupInfo) {
	if run.reader == nil {
		return // the schema is being made
	}
	g := diffGroup{again: info.Reruns > 0}
	for _, c := range info.Calls {
		g.tags = append(g.tags, tagOf(c))
	}
	if err := run.reader.QueryRow("SELECT coalesce(max(rowid), 0) FROM log").Scan(&g.after); err != nil {
		run.lost = err
	}
	run.groups = append(run.groups, g)
}

var tagText = regexp.MustCompile(`\b1\d{6}\b`)

// tagOf finds the tag in a call.
func tagOf(c *groupcommit.Call) int64 {
	for _, a := range c.Args {
		if n, ok := a.Value.(int64); ok && n >= firstTag && n < 2*firstTag {
			return n
		}
	}
	n, _ := strconv.ParseInt(tagText.FindString(c.Query), 10, 64)
	return n
}

func (p contended) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "maxlen %d, %s\n%s\n", p.maxLen, p.params, strings.Join(p.schema, "\n"))
	for _, s := range p.steps {
		fmt.Fprintf(&b, "%v\n", s.ops)
	}
	return b.String()
}
