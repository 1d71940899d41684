package pgx_test

import (
	"bufio"
	"database/sql"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	ours "github.com/groupcommit/groupcommit/pgx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// insist calls, by Exec and by QueryRow, with each of n ids until it is answered, from many goroutines, and tells each answer to said.
func insist(t *testing.T, db *sql.DB, n int, said func(k int)) {
	ks := make(chan int)
	var workers sync.WaitGroup
	for range 32 {
		workers.Go(func() {
			for k := range ks {
				ctx := groupcommit.WithID(background, fmt.Sprintf("id-%d", k))
				for {
					var err error
					if k%2 == 0 {
						_, err = db.ExecContext(ctx, "INSERT INTO log (k) VALUES ($1)", k)
					} else {
						var row int
						err = db.QueryRowContext(ctx, "INSERT INTO log (k) VALUES ($1) RETURNING k", k).Scan(&row)
						assert.True(t, err != nil || row == k)
					}
					if err == nil {
						break
					}
					if !assert.NotErrorIs(t, err, groupcommit.ErrMismatch) {
						break
					}
					time.Sleep(time.Millisecond) // a server that is down answers at once
				}
				said(k)
			}
		})
	}
	for _, k := range rand.Perm(n) {
		ks <- k
	}
	close(ks)
	bounded.Wait(t, "all is answered", workers.Wait)
}

// hasOnce requires each of the keys to have one row.
func (r *rig) hasOnce(keys iter.Seq[int64]) {
	r.Helper()
	all := slices.Collect(keys)
	require.Equal(r, fmt.Sprint(len(all), " ", len(all)), r.value("SELECT count(*) || ' ' || count(DISTINCT k) FROM log WHERE k = ANY ($1)", all), "rows that were acknowledged, different ones")
}

// kept requires each of n ids to have one row and one outcome.
func (r *rig) kept(n int) {
	r.Helper()
	r.once(n)
	require.Equal(r, fmt.Sprint(n), r.value("SELECT count(*) FROM groupcommit_promises WHERE id <> '' AND state = $1", int64(durable.Resolved)))
}

const (
	promiserDSN = "GROUPCOMMIT_TEST_PROMISE_DSN"
	promiserIDs = 1500

	keptIdle = 100 // connections: each new one is a process of the server
)

// TestPromisingProcess is the process that another test kills.
func TestPromisingProcess(t *testing.T) {
	dsn := os.Getenv(promiserDSN)
	if dsn == "" {
		t.Skip("for a process that another test starts")
	}
	bounded.Test(t)
	db, err := sql.Open(ours.DriverName, dsn)
	require.NoError(t, err)
	defer db.Close()
	db.SetMaxIdleConns(keptIdle)
	var mu sync.Mutex
	insist(t, db, promiserIDs, func(k int) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println("answered", k)
	})
}

func promiser(t *testing.T, dsn string) (p *exec.Cmd, answers *bufio.Scanner) {
	t.Helper()
	p = exec.Command(os.Args[0], "-test.run=^TestPromisingProcess$")
	p.Env = append(os.Environ(), promiserDSN+"="+dsn)
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	return p, bufio.NewScanner(out)
}

func TestEveryIDHasOneRowAndOneOutcomeWhateverCrashes(t *testing.T) {
	r := setUp(t, sideBySide)
	dsn := pgtest.With(r.dsn, pgtest.Param("groupcommit_promises", "on"))
	acknowledged := make(map[int64]bool)
	for range 5 {
		p, answers := promiser(t, dsn)
		for left := rand.IntN(promiserIDs / 2); left > 0 && answers.Scan(); {
			if k, ok := strings.CutPrefix(answers.Text(), "answered "); ok {
				n, err := strconv.ParseInt(k, 10, 64)
				require.NoError(t, err)
				acknowledged[n] = true
				left--
			}
		}
		p.Process.Kill()
		bounded.Wait(t, "the process that was killed is gone", func() { p.Wait() })
		r.hasOnce(maps.Keys(acknowledged))
	}
	var both sync.WaitGroup
	for range 2 {
		p, answers := promiser(t, dsn)
		both.Go(func() {
			n := 0
			for answers.Scan() {
				if strings.HasPrefix(answers.Text(), "answered ") {
					n++
				}
			}
			assert.NoError(t, p.Wait())
			assert.Equal(t, promiserIDs, n)
		})
	}
	bounded.Wait(t, "both have ended", both.Wait)
	r.kept(promiserIDs)
}

func TestAFailoverLosesNothingAndDoublesNothing(t *testing.T) {
	primary := pgtest.New(t, pgtest.Options{})
	standby := pgtest.NewStandby(t, primary, pgtest.Options{})
	require.NoError(t, primary.Synchronize(standby))
	var hosts, ports []string
	for _, s := range []*pgtest.Server{primary, standby} {
		host, port, err := net.SplitHostPort(s.Addr())
		require.NoError(t, err)
		hosts, ports = append(hosts, host), append(ports, port)
	}
	r := setUpOn(t, primary.KeywordDSN(), []pgtest.DSNOption{
		pgtest.Param("host", strings.Join(hosts, ",")), pgtest.Param("port", strings.Join(ports, ",")),
		pgtest.Param("target_session_attrs", "read-write"), pgtest.Param("groupcommit_promises", "on"),
	}, sideBySide)
	r.db.SetMaxIdleConns(keptIdle)
	const ids, before = 3000, 1000
	acknowledged := make(chan int64, ids)
	var load sync.WaitGroup
	load.Go(func() { insist(t, r.db, ids, func(k int) { acknowledged <- int64(k) }) })
	var early []int64
	for len(early) < before {
		early = append(early, bounded.Receive(t, "a call is acknowledged", acknowledged))
	}
	require.NoError(t, primary.Kill())
	for len(acknowledged) > 0 { // told before or at the death
		early = append(early, bounded.Receive(t, "a call is acknowledged", acknowledged))
	}
	require.NoError(t, standby.Promote())
	r.plain = r.open("pgx", standby.DSN())
	r.hasOnce(slices.Values(early))
	bounded.Wait(t, "all is answered", load.Wait)
	r.kept(ids)
}
