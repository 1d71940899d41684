package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/disk"
	"github.com/groupcommit/groupcommit/internal/pgtest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain lets the test binary be the program, so that it is run as a user runs it without being built again.
func TestMain(m *testing.M) {
	if os.Getenv("BENCH_AS_PROGRAM") != "" {
		main()
	}
	os.Exit(pgtest.Run(m)) // with a server that does not sync: how fast it is does not matter here
}

// program is the built program with a temporary folder of its own, in memory where there is a folder for that.
func program(t *testing.T, args ...string) (cmd *exec.Cmd, out, errs *bytes.Buffer, tmp string) {
	self, err := os.Executable()
	require.NoError(t, err)
	tmp, err = os.MkdirTemp(disk.Memory(), "bench-test-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(tmp) })
	cmd, out, errs = exec.Command(self, args...), new(bytes.Buffer), new(bytes.Buffer)
	cmd.Env = append(os.Environ(), "BENCH_AS_PROGRAM=1", "TMPDIR="+tmp)
	cmd.Stdout, cmd.Stderr = out, errs
	return cmd, out, errs, tmp
}

// runProgram runs it to its end; nothing may be left in its temporary folder.
func runProgram(t *testing.T, args ...string) (code int, out, errs string) {
	cmd, o, e, tmp := program(t, args...)
	_ = cmd.Run()
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	assert.Empty(t, left, "left in the temporary folder")
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// alone has one run make all its calls.
func (l *lab) alone(ctx context.Context, r run) (res result, err error) {
	err = l.contest(ctx, []run{r}, func(all []*entrant) error {
		_, err := l.turns(ctx, pace{slice: time.Hour, slices: 1}, all)
		return err
	})
	if len(l.results) > 0 {
		res = l.results[len(l.results)-1]
	}
	return res, err
}

func TestBothSidesInTheTableAndInTheJSON(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runs.json")
	code, out, errs := runProgram(t, "--users", "200", "--goroutines", "8", "--json", file)
	assert.Zero(t, code)
	assert.Empty(t, errs)
	for _, want := range []string{"journal_mode=WAL, synchronous=FULL", "A sync on this disk: ", "processor a call", "SQLite 3.", "in turn with the others", "Looking for every value", "p99", "NORMAL, does not sync at every commit", "inserts a second", "every value found exactly once"} {
		assert.Contains(t, out, want)
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	runs := decoded(t, text)
	require.Len(t, runs, 2)
	names := []string{"driver", "batch", "users", "goroutines", "maxlen", "synchronous", "seconds", "per_second", "commits", "mean_group", "max_group", "rows", "api", "client_us", "server_us", "allocs_per_call", "bytes_per_call", "slices", "p50_us", "p99_us"}
	for i, driver := range []string{"sqlite3", "sqlite3-groupcommit"} {
		r := runs[i]
		assert.Len(t, r, len(names))
		for _, n := range names {
			assert.Contains(t, r, n)
		}
		assert.Equal(t, driver, r["driver"])
		assert.Equal(t, i == 1, r["batch"])
		assert.Equal(t, "exec", r["api"])
		assert.Equal(t, 200.0, r["users"])
		assert.Equal(t, 8.0, r["goroutines"])
		assert.Equal(t, 0.0, r["maxlen"])
		assert.Equal(t, "full", r["synchronous"])
		assert.Equal(t, 200.0, r["rows"])
		assert.InEpsilon(t, 200/r["seconds"].(float64), r["per_second"], 1e-9)
		assert.Equal(t, -1.0, r["server_us"], "there is no server")
		assert.InEpsilon(t, 200/r["commits"].(float64), r["mean_group"], 1e-9)
		assert.Positive(t, r["p50_us"])
		assert.GreaterOrEqual(t, r["p99_us"], r["p50_us"])
	}
	assert.Equal(t, 200.0, runs[0]["commits"])
	assert.Equal(t, 1.0, runs[0]["max_group"])
	assert.LessOrEqual(t, runs[1]["max_group"], 8.0)
}

func decoded(t *testing.T, text []byte) []map[string]any { return decodedList(t, text, "runs") }

// decodedList is the one list of an object.
func decodedList(t *testing.T, text []byte, name string) []map[string]any {
	var got map[string][]map[string]any
	require.NoError(t, json.Unmarshal(text, &got), string(text))
	require.Len(t, got, 1)
	return got[name]
}

func TestMaxLenBoundsTheGroups(t *testing.T) {
	code, out, _ := runProgram(t, "--users", "300", "--batch", "--maxlen", "5", "--json", "-")
	assert.Zero(t, code)
	runs := decoded(t, []byte(out))
	require.Len(t, runs, 1)
	assert.Equal(t, 5.0, runs[0]["maxlen"])
	assert.LessOrEqual(t, runs[0]["max_group"], 5.0)
	assert.GreaterOrEqual(t, runs[0]["commits"], 60.0)
}

func TestVerboseLinesCoverEveryValue(t *testing.T) {
	_, out, _ := runProgram(t, "--users", "500", "--no-batch", "--verbose", "--synchronous", "off")
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^Value (\d+) has been inserted$`).FindAllStringSubmatch(out, -1) {
		seen[m[1]] = true
	}
	assert.Len(t, seen, 500)
	assert.Equal(t, 500, strings.Count(out, " has been inserted\n"))

	_, out, _ = runProgram(t, "--users", "500", "--batch", "--verbose")
	_, total, covered := spans(t, out, 500)
	assert.Equal(t, 500, total)
	assert.NotContains(t, covered, false)
}

// spans are what the lines of groups and batches say: how many of them there are, how many values they have, and which values
// lie in their ranges.
func spans(t *testing.T, out string, users int) (lines, total int, covered []bool) {
	covered = make([]bool, users)
	for _, m := range regexp.MustCompile(`(?m)^Values from (\d+) to (\d+) have been inserted(?:: (\d+) of these (\d+))?$`).FindAllStringSubmatch(out, -1) {
		lines++
		from, to := number(t, m[1]), number(t, m[2])
		for v := from; v <= to; v++ {
			covered[v] = true
		}
		if m[3] == "" {
			total += to - from + 1
		} else {
			assert.Equal(t, to-from+1, number(t, m[4]))
			total += number(t, m[3])
		}
	}
	return lines, total, covered
}

func number(t *testing.T, s string) (n int) {
	require.NoError(t, json.Unmarshal([]byte(s), &n))
	return n
}

func TestExitCodes(t *testing.T) {
	code, out, errs := runProgram(t, "--users", "-5")
	assert.Equal(t, exitUsage, code)
	assert.Empty(t, out)
	assert.Equal(t, 1, strings.Count(errs, "\n"), "one line: %s", errs)

	code, out, _ = runProgram(t, "--help")
	assert.Zero(t, code)
	assert.Contains(t, out, "--goroutines N")

	cmd, _, e, tmp := program(t, "--users", "10")
	cmd.Env = append(cmd.Env, "TMPDIR="+filepath.Join(tmp, "missing"))
	_ = cmd.Run()
	assert.Equal(t, exitFailed, cmd.ProcessState.ExitCode())
	assert.Contains(t, e.String(), "missing")
}

func TestCtrlCEndsCleanly(t *testing.T) {
	cmd, _, errs, tmp := program(t, "--users", "1000000", "--no-batch")
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		files, _ := filepath.Glob(filepath.Join(tmp, "*", "run-*.db"))
		return len(files) == 1
	}, 20*time.Second, 5*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait()
	assert.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
	assert.Equal(t, "bench: interrupted\n", errs.String())
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestABrokenOutputEndsTheProgramCleanly(t *testing.T) {
	cmd, _, errs, tmp := program(t, "--users", "1000000", "--no-batch", "--verbose", "--synchronous", "off")
	out, in, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout = in
	require.NoError(t, cmd.Start())
	require.NoError(t, errors.Join(in.Close(), out.Close()))
	_ = cmd.Wait()
	assert.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
	assert.Equal(t, "bench: interrupted\n", errs.String())
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestASocketWhoseOtherEndIsClosedDoesNotEndTheProgram(t *testing.T) {
	w, err := newWay("tcp", echo(t).Addr().String(), 0)
	require.NoError(t, err)
	code := guarded("", "", io.Discard, io.Discard, func(ctx context.Context, out io.Writer) error {
		c, err := net.Dial("tcp", w.address())
		require.NoError(t, err)
		require.NoError(t, w.close())
		for err == nil {
			_, err = c.Write([]byte("x"))
		}
		_, err = c.Write([]byte("x"))
		assert.Error(t, err)
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond): // a signal would have come
		}
		return nil
	})
	assert.Zero(t, code)
}
