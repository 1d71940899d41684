package sqlite3_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	promiseDSN = "GROUPCOMMIT_TEST_PROMISE_DSN"
	promiseIDs = 1200
)

// TestEveryIDHasOneRowAndOneOutcomeWhateverCrashes kills a process that calls with a fixed set of ids, half of them of queries, again and again,
// and starts it anew with the same ids, until one run comes to its end. Each time another process, that is not killed,
// works on the same ids.
func TestEveryIDHasOneRowAndOneOutcomeWhateverCrashes(t *testing.T) {
	dsn := strings.Replace(dsnOf(t, "&_busy_timeout=20000&groupcommit_promises=on"), "_sync=OFF", "_sync=FULL", 1)
	db := ours(t, dsn, "CREATE TABLE a (v TEXT)")
	acknowledged := make(map[string]string)
	for range 8 {
		run := startPromiser(t, dsn)
		for range rand.IntN(promiseIDs / 2) {
			id, ok := run.next()
			if !ok {
				break
			}
			id, row, _ := strings.Cut(id, " ")
			if before, ok := acknowledged[id]; ok {
				require.Equal(t, before, row, "%s has another answer than before the crash", id)
			}
			acknowledged[id] = row
		}
		run.cmd.Process.Kill()
		bounded.Wait(t, "the process that was killed is gone", func() { run.cmd.Wait() })
		for id, row := range acknowledged {
			require.Equal(t, 1, count(t, db, "SELECT count(*) FROM a WHERE v = ? AND (? = '' OR rowid = CAST(? AS INTEGER))", id, row, row), "%s %s", id, row)
		}
	}
	var both sync.WaitGroup
	for range 2 {
		run := startPromiser(t, dsn)
		both.Go(func() {
			answered := 0
			for _, ok := run.next(); ok; _, ok = run.next() {
				answered++
			}
			assert.NoError(t, run.cmd.Wait())
			assert.Equal(t, promiseIDs, answered)
		})
	}
	bounded.Wait(t, "both have ended", both.Wait)
	require.Equal(t, promiseIDs, count(t, db, "SELECT count(*) FROM a"))
	require.Equal(t, promiseIDs, count(t, db, "SELECT count(DISTINCT v) FROM a"))
	require.Equal(t, promiseIDs, count(t, db, "SELECT count(*) FROM groupcommit_promises WHERE id != ''"))
}

type promiser struct {
	cmd   *osexec.Cmd
	lines *bufio.Scanner
}

func startPromiser(t *testing.T, dsn string) *promiser {
	t.Helper()
	cmd := osexec.Command(os.Args[0], "-test.run=^TestPromisingProcess$")
	cmd.Env = append(os.Environ(), promiseDSN+"="+dsn)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return &promiser{cmd, bufio.NewScanner(out)}
}

// next returns the next id that the process says has its answer.
func (p *promiser) next() (id string, ok bool) {
	for p.lines.Scan() {
		if id, ok = strings.CutPrefix(p.lines.Text(), "answered "); ok {
			return id, true
		}
	}
	return "", false
}

// TestPromisingProcess is the process that is killed.
func TestPromisingProcess(t *testing.T) {
	dsn := os.Getenv(promiseDSN)
	if dsn == "" {
		t.Skip("for a process that another test starts")
	}
	db := ours(t, dsn)
	var mu sync.Mutex
	var workers sync.WaitGroup
	ids := make(chan int)
	for range 32 {
		workers.Go(func() {
			for i := range ids {
				id := fmt.Sprintf("id-%d", i)
				var err error
				if i%2 == 0 {
					_, err = db.ExecContext(groupcommit.WithID(background, id), "INSERT INTO a (v) VALUES (?)", id)
				} else { // the row says which execution it is of
					var row int
					err = db.QueryRowContext(groupcommit.WithID(background, id), "INSERT INTO a (v) VALUES (?) RETURNING rowid", id).Scan(&row)
					id += fmt.Sprint(" ", row)
				}
				if !assert.NoError(t, err, id) {
					return
				}
				mu.Lock()
				fmt.Println("answered " + id)
				mu.Unlock()
			}
		})
	}
	for _, i := range rand.Perm(promiseIDs) {
		ids <- i
	}
	close(ids)
	bounded.Wait(t, "all is answered", workers.Wait)
}
