package sqlite3_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/groupcommit/groupcommit"
	mattn "github.com/mattn/go-sqlite3"
)

// levelConns are the driver's connections, by the path of the file.
var levelConns sync.Map // of *levelList

var levelDriver = sync.OnceValue(func() string {
	_, grouped := hookedDrivers(func(c *mattn.SQLiteConn) error {
		v, _ := levelConns.LoadOrStore(c.GetFilename("main"), new(levelList))
		l := v.(*levelList)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.conns = append(l.conns, c)
		return nil
	})
	return grouped
})

type levelList struct {
	mu    sync.Mutex
	conns []*mattn.SQLiteConn
}

// levelRun is one run of a program. A caller that is between begin and its end, or in a statement, has others' share of it.
type levelRun struct {
	levelProgram
	db     *sql.DB
	second *sql.DB // another one of the file
	conns  *levelList
	other  *atomic.Int64 // transactions that were found at another level
	quiet  sync.RWMutex  // nobody uses the database
	wrong  atomic.Pointer[string]
}

func (p levelProgram) run(dir string, other, shared *atomic.Int64) (wrong string, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "d")
	db, err := sql.Open(levelDriver(), "file:"+path+"?"+p.params)
	if err != nil {
		return "", err
	}
	defer levelConns.Delete(path)
	defer db.Close()
	db.SetMaxIdleConns(len(p.callers) + 2) // none is closed while it is looked at
	for _, q := range []string{
		"CREATE TABLE t (k INTEGER PRIMARY KEY, v)", "CREATE TABLE u (k INTEGER PRIMARY KEY ON CONFLICT ROLLBACK)", "INSERT INTO u VALUES (1)",
		"CREATE TABLE r (k)", "CREATE TRIGGER no BEFORE INSERT ON r BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
		"CREATE TABLE p (k INTEGER PRIMARY KEY)", "CREATE TABLE c (p INT REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
	} {
		if _, err := db.Exec(q); err != nil {
			return "", err
		}
	}
	second, err := sql.Open(levelDriver(), "file:"+path+"?"+strings.Replace(p.params, "_busy_timeout=30000", "_busy_timeout=3000", 1))
	if err != nil {
		return "", err
	}
	defer second.Close()
	conns, _ := levelConns.Load(path)
	run := &levelRun{levelProgram: p, db: db, second: second, conns: conns.(*levelList), other: other}
	var all sync.WaitGroup
	for _, ops := range p.callers {
		all.Go(func() { run.caller(ops) })
	}
	all.Wait()
	st, err := groupcommit.StatsOf(db)
	if err != nil {
		return "", err
	}
	shared.Add(st.Shared)
	if w := run.wrong.Load(); w != nil {
		return *w, nil
	}
	return "", nil
}

// levelCaller is a caller, and what it has open.
type levelCaller struct {
	*levelRun
	conn   *sql.Conn
	tx     *sql.Tx
	cancel context.CancelFunc // of the transaction's context
	inside bool               // it keeps the others from a check
}

func (run *levelRun) caller(ops []levelOp) {
	c := &levelCaller{levelRun: run}
	defer c.leave()
	for i, op := range ops {
		if run.wrong.Load() != nil {
			return
		}
		wrong := c.do(op)
		if wrong == "" && len(run.callers) == 1 {
			wrong = c.check(c.open())
		}
		if wrong != "" {
			wrong = fmt.Sprintf("step %d, %s %s: %s", i, op.what, op.sql, wrong)
			run.wrong.CompareAndSwap(nil, &wrong)
		}
	}
}

// open is the number of connections that the program has out of its pool.
func (c *levelCaller) open() int {
	if c.conn != nil || c.tx != nil {
		return 1
	}
	return 0
}

func (c *levelCaller) enter() {
	if !c.inside {
		c.quiet.RLock()
		c.inside = true
	}
}

// leave ends whatever is open.
func (c *levelCaller) leave() {
	c.end("rollback")
	if c.conn != nil {
		c.conn.ExecContext(background, "ROLLBACK")
		c.conn.Close()
		c.conn = nil
	}
	if c.inside {
		c.inside = false
		c.quiet.RUnlock()
	}
}

func (c *levelCaller) end(how string) {
	if c.tx == nil {
		return
	}
	switch how {
	case "commit":
		c.tx.Commit()
	case "rollback":
		c.tx.Rollback()
	}
	c.cancel() // nobody waits for what database/sql does then
	c.tx = nil
}

func (c *levelCaller) begin() {
	if c.tx != nil {
		return
	}
	ctx, cancel := context.WithCancel(background)
	var err error
	if c.conn != nil {
		c.tx, err = c.conn.BeginTx(ctx, nil)
	} else {
		c.tx, err = c.db.BeginTx(ctx, nil)
	}
	if c.cancel = cancel; err != nil {
		c.tx = nil
		cancel()
	}
}

// do does one step. Its errors are the plain driver's concern.
func (c *levelCaller) do(op levelOp) (wrong string) {
	if op.what == "check" {
		c.leave()
		c.quiet.Lock()
		defer c.quiet.Unlock()
		if wrong = c.check(0); wrong != "" {
			return wrong
		}
		if _, err := c.second.Exec("INSERT INTO t (v) VALUES (9)"); err != nil {
			return fmt.Sprintf("nobody writes, and another pool cannot: %v", err)
		}
		return c.check(0)
	}
	c.enter()
	ctx := background
	switch op.what {
	case "begin":
		c.begin()
		return ""
	case "conn":
		if c.conn == nil && c.tx == nil {
			c.conn, _ = c.db.Conn(background)
		}
		return ""
	case "commit", "rollback", "cancel":
		c.end(op.what)
		return ""
	case "close":
		c.leave()
		return ""
	case "cancelled", "cut":
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, map[string]time.Duration{"cut": 500 * time.Microsecond}[op.what])
		defer cancel()
	}
	var on diffTarget = c.db
	switch {
	case c.tx != nil:
		on = c.tx
	case c.conn != nil:
		on = c.conn
	}
	return c.statement(ctx, on, op)
}

func (c *levelCaller) statement(ctx context.Context, on diffTarget, op levelOp) (wrong string) {
	switch op.what {
	case "prepared":
		if st, err := on.PrepareContext(ctx, op.sql); err == nil {
			st.Exec()
			st.Close()
		}
	case "together": // some of them in a group
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { on.ExecContext(ctx, op.sql) })
		}
		all.Wait()
	case "query", "first":
		rows, err := on.QueryContext(ctx, op.sql)
		if err != nil {
			return ""
		}
		defer rows.Close()
		for rows.Next() {
			var v any
			if rows.Scan(&v) == nil && strings.Contains(op.sql, "synchronous") && v != int64(c.level) {
				return fmt.Sprintf("it answers %v, and not %d", v, c.level)
			}
			if op.what == "first" {
				break
			}
		}
	default:
		on.ExecContext(ctx, op.sql)
	}
	return ""
}

// check asks all connections for their level, while nobody uses them but the caller itself, who has as many out of its pool.
func (c *levelCaller) check(out int) (wrong string) {
	for c.db.Stats().InUse > out { // database/sql rolls back when a context has ended
		time.Sleep(50 * time.Microsecond)
	}
	c.conns.mu.Lock()
	defer c.conns.mu.Unlock()
	for i, conn := range c.conns.conns {
		idle := conn.AutoCommit() // also false if it is closed
		if !idle && (conn.Ping(background) != nil || len(c.callers) > 1) {
			continue
		}
		level, err := levelOf(conn)
		switch {
		case err != nil:
			return fmt.Sprintf("connection %d: %v", i, err)
		case idle && level != int64(c.level):
			return fmt.Sprintf("connection %d is at %d, and not at %d", i, level, c.level)
		case level != int64(c.level):
			c.other.Add(1)
		}
	}
	return ""
}

func levelOf(conn *mattn.SQLiteConn) (level int64, err error) {
	rows, err := conn.Query("PRAGMA main.synchronous", nil)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	row := make([]driver.Value, 1)
	if err := rows.Next(row); err != nil {
		return 0, err
	}
	return row[0].(int64), nil
}
