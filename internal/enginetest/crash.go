package enginetest

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An order is a command with an id, a mail one that is durable.
type (
	order struct{ N int }
	mail  struct{ N int }
)

const (
	crashDriver = "GROUPCOMMIT_TEST_COMMAND_DRIVER"
	crashDSN    = "GROUPCOMMIT_TEST_COMMAND_DSN"
	crashOrders = 400
)

// CrashCommands kills a process that hands in commands with a fixed set of ids, again and again, and starts it anew with the
// same ids, until two of them at once come to their end. Each order has a row and adds its mail in the same transaction;
// each mail has a row, too.
//
// The test binary must have a test TestCommandProcess, which calls CommandProcess. dsn keeps promises.
func CrashCommands(t *testing.T, driverName, dsn string, insert string) {
	bounded.Test(t)
	db, err := sql.Open(driverName, dsn)
	require.NoError(t, err)
	defer db.Close()
	for _, table := range []string{"orders", "mails"} {
		_, err := db.Exec("CREATE TABLE " + table + " (n BIGINT NOT NULL)") // nothing unique: a row that was written twice shows
		require.NoError(t, err)
	}
	once := func(table string, n int) {
		t.Helper()
		var rows, different int
		require.NoError(t, db.QueryRow("SELECT count(*), count(DISTINCT n) FROM "+table).Scan(&rows, &different))
		require.Equal(t, different, rows, table)
		require.GreaterOrEqual(t, different, n, table)
	}
	start := func() *commandProcess { return startCommands(t, driverName, dsn, insert) }
	acknowledged := make(map[string]bool)
	for range 5 {
		run := start()
		for range rand.IntN(crashOrders) {
			line, ok := run.next()
			if !ok {
				break
			}
			acknowledged[line] = true
		}
		run.cmd.Process.Kill()
		bounded.Wait(t, "the process that was killed is gone", func() { run.cmd.Wait() })
		orders := 0
		for line := range acknowledged {
			if strings.HasPrefix(line, "order") {
				orders++
			}
		}
		once("orders", orders)
		once("mails", len(acknowledged)-orders)
	}
	var both sync.WaitGroup
	for range 2 {
		run := start()
		both.Go(func() {
			answered := 0
			for _, ok := run.next(); ok; _, ok = run.next() {
				answered++
			}
			assert.NoError(t, run.cmd.Wait())
			assert.Equal(t, 2*crashOrders, answered)
		})
	}
	bounded.Wait(t, "two processes have carried out all commands", both.Wait)
	once("orders", crashOrders)
	once("mails", crashOrders)
	var settled, all int
	require.NoError(t, db.QueryRow("SELECT count(completed_at), count(*) FROM groupcommit_promises WHERE id <> ''").Scan(&settled, &all))
	require.Equal(t, []int{2 * crashOrders, 2 * crashOrders}, []int{settled, all})
}

type commandProcess struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startCommands(t *testing.T, driverName, dsn, insert string) *commandProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCommandProcess$")
	cmd.Env = append(os.Environ(), crashDriver+"="+driverName, crashDSN+"="+dsn, "GROUPCOMMIT_TEST_COMMAND_INSERT="+insert)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return &commandProcess{cmd, bufio.NewScanner(out)}
}

// next is the next order or mail that the process says has its answer.
func (p *commandProcess) next() (what string, ok bool) {
	for p.lines.Scan() {
		if what, ok = strings.CutPrefix(p.lines.Text(), "answered "); ok {
			return what, true
		}
	}
	return "", false
}

// CommandProcess is the process that is killed.
func CommandProcess(t *testing.T) {
	dsn := os.Getenv(crashDSN)
	if dsn == "" {
		t.Skip("for a process that another test starts")
	}
	bounded.Test(t)
	db, err := sql.Open(os.Getenv(crashDriver), dsn)
	require.NoError(t, err)
	defer db.Close()
	db.SetMaxIdleConns(100) // each new connection may be a process of a server
	insert := func(ctx context.Context, tx *sql.Tx, table string, n int) error {
		_, err := tx.ExecContext(ctx, fmt.Sprintf(os.Getenv("GROUPCOMMIT_TEST_COMMAND_INSERT"), table), n)
		return err
	}
	mails, err := groupcommit.Handle(db, groupcommit.Each(func(ctx context.Context, tx *sql.Tx, m mail) (int, error) {
		return m.N, insert(ctx, tx, "mails", m.N)
	}), groupcommit.Durable(), groupcommit.Lease(500*time.Millisecond))
	require.NoError(t, err)
	orders, err := groupcommit.Handle(db, func(ctx context.Context, tx *sql.Tx, batch []*groupcommit.Command[order, int]) error {
		for _, c := range batch {
			n := c.Value.N
			if err := insert(ctx, tx, "orders", n); err != nil {
				return err
			}
			if err := mails.Add(ctx, tx, fmt.Sprint("mail ", n), mail{n}); err != nil {
				return err
			}
			c.Resolve(n)
		}
		return nil
	}, groupcommit.MaxLen(50))
	require.NoError(t, err)

	var mu sync.Mutex
	ns := make(chan int)
	var workers sync.WaitGroup
	for range 32 {
		workers.Go(func() {
			for n := range ns {
				got, err := orders.Do(context.Background(), fmt.Sprint("order ", n), order{n})
				ok := assert.NoError(t, err) && assert.Equal(t, n, got)
				mu.Lock()
				fmt.Println("answered order", n)
				mu.Unlock()
				got, err = mails.Do(context.Background(), fmt.Sprint("mail ", n), mail{n})
				if ok = assert.NoError(t, err) && assert.Equal(t, n, got) && ok; !ok {
					return
				}
				mu.Lock()
				fmt.Println("answered mail", n)
				mu.Unlock()
			}
		})
	}
	for _, n := range rand.Perm(crashOrders) {
		ns <- n
	}
	close(ns)
	workers.Wait()
	assert.NoError(t, mails.Recover(context.Background()))
}
