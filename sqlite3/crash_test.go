package sqlite3_test

import (
	"bufio"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/require"
)

const (
	crashes      = 25 // times that the child is killed
	crashWorkers = 32 // goroutines that write in it
	crashDSN     = "GROUPCOMMIT_TEST_CRASH_DSN"
	crashRun     = "GROUPCOMMIT_TEST_CRASH_RUN"
)

// TestWhatWasAcknowledgedIsThereOnceAfterSIGKILL kills a process that writes from many goroutines, again and again on
// the same file, at a moment of the acknowledgements' choosing. Every value that it was told is committed must be there
// once, and no value twice.
func TestWhatWasAcknowledgedIsThereOnceAfterSIGKILL(t *testing.T) {
	dsn := strings.Replace(dsnOf(t, ""), "_sync=OFF", "_sync=FULL", 1)
	ours(t, dsn, "CREATE TABLE a (v TEXT)")
	acknowledged := make(map[string]bool)
	for run := range crashes {
		for _, v := range killedWriter(t, dsn, run, 1+rand.IntN(600)) {
			require.False(t, acknowledged[v], "%s acknowledged twice", v)
			acknowledged[v] = true
		}
		checkAcknowledged(t, dsn, acknowledged)
	}
}

// killedWriter starts the child, kills it after it has acknowledged so many values, and returns all that it has.
func killedWriter(t *testing.T, dsn string, run, after int) (acknowledged []string) {
	t.Helper()
	cmd := osexec.Command(os.Args[0], "-test.run=^TestCrashingWriter$", "-test.v=false")
	cmd.Env = append(os.Environ(), crashDSN+"="+dsn, crashRun+"="+strconv.Itoa(run))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF { // a line that was cut off was not received
			break
		}
		require.NoError(t, err)
		v, ok := strings.CutPrefix(strings.TrimSpace(line), "ok ")
		require.True(t, ok, "the child said %q", line)
		acknowledged = append(acknowledged, v)
		if len(acknowledged) == after {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.Error(t, cmd.Wait(), "it should have been killed")
	require.GreaterOrEqual(t, len(acknowledged), after)
	return acknowledged
}

func checkAcknowledged(t *testing.T, dsn string, acknowledged map[string]bool) {
	t.Helper()
	db, err := sql.Open("sqlite3", dsn)
	require.NoError(t, err)
	defer db.Close()
	rows, err := db.Query("SELECT v, count(*) FROM a GROUP BY v")
	require.NoError(t, err)
	defer rows.Close()
	found := make(map[string]bool)
	for rows.Next() {
		var v string
		var n int
		if err := rows.Scan(&v, &n); err != nil || n != 1 { // require, called as often as there are rows, takes longer than all else
			t.Fatalf("%s is there %d times (%v)", v, n, err)
		}
		found[v] = true
	}
	require.NoError(t, rows.Err())
	for v := range acknowledged {
		if !found[v] {
			t.Fatalf("%s was acknowledged and is lost", v)
		}
	}
}

// TestCrashingWriter is the child: it writes until it is killed, half by Exec and half by promises, and says what has
// been committed.
func TestCrashingWriter(t *testing.T) {
	dsn, run := os.Getenv(crashDSN), os.Getenv(crashRun)
	if dsn == "" {
		t.Skip("a child of TestWhatWasAcknowledgedIsThereOnceAfterSIGKILL")
	}
	db := ours(t, dsn)
	db.SetMaxIdleConns(crashWorkers)
	var say sync.Mutex
	var all sync.WaitGroup
	for w := range crashWorkers {
		all.Go(func() {
			for i := 0; ; i++ {
				v := fmt.Sprintf("%s/%d/%d", run, w, i)
				var err error
				if w%2 == 0 {
					_, err = db.Exec("INSERT INTO a VALUES (?)", v)
				} else {
					_, err = groupcommit.Go(background, db, "INSERT INTO a VALUES (?)", v).Await(background)
				}
				say.Lock()
				if err != nil {
					fmt.Println("error", err)
				} else {
					fmt.Println("ok", v)
				}
				say.Unlock()
			}
		})
	}
	bounded.Wait(t, "the calls are answered", all.Wait)
}
