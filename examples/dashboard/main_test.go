package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// programEnv tells a process of the test's program that it is the dashboard.
const programEnv = "GROUPCOMMIT_EXAMPLE_DASHBOARD"

func TestMain(m *testing.M) {
	if os.Getenv(programEnv) == "" {
		os.Exit(m.Run())
	}
	main()
}

// program is the dashboard with some arguments, and an empty folder for its temporary files.
func program(t *testing.T, args ...string) (p *exec.Cmd, temporary string) {
	temporary = t.TempDir()
	p = exec.Command(os.Args[0], args...)
	p.Env = append(os.Environ(), programEnv+"=1", "TMPDIR="+temporary)
	return p, temporary
}

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func get(t *testing.T, url string) string {
	t.Helper()
	a, err := http.Get(url)
	require.NoError(t, err)
	defer a.Body.Close()
	require.Equal(t, http.StatusOK, a.StatusCode)
	body, err := io.ReadAll(a.Body)
	require.NoError(t, err)
	return string(body)
}

func TestItShowsTheShopUntilItIsInterruptedAndLeavesNothingBehind(t *testing.T) {
	p, temporary := program(t, "--addr=127.0.0.1:0", "--callers=8")
	out, err := p.StdoutPipe()
	require.NoError(t, err)
	var complaints bytes.Buffer
	p.Stderr = &complaints
	require.NoError(t, p.Start())
	defer p.Process.Kill()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	url, _, ok := strings.Cut(line, " ")
	require.True(t, ok, line)

	assert.Contains(t, get(t, url), "<title>shop · groupcommit</title>")
	var report struct{ Calls int64 }
	for report.Calls < 100 { // the callers are at work
		require.NoError(t, json.Unmarshal([]byte(get(t, url+"?format=json")), &report))
	}
	assert.Contains(t, get(t, url), "INSERT INTO orders")

	require.NoError(t, p.Process.Signal(syscall.SIGINT))
	require.NoError(t, p.Wait(), "it exits with 0")
	assert.Empty(t, complaints.String())
	requireEmpty(t, temporary)
}

func TestItEndsAfterItsTime(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	require.NoError(t, start(context.Background(), []string{"--addr=localhost:0", "--callers=2", "--for=50ms"}, &out))
	assert.Contains(t, out.String(), "/debug/groupcommit/ shows the shop")
	requireEmpty(t, os.TempDir())
}

func TestBadUseIsOneLineAndExitsWith2(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for args, says := range map[string]string{
		"--callers=0":                     `invalid value "0" for flag -callers: a whole number from 1 to 10000`,
		"--callers=many":                  `invalid value "many" for flag -callers: a whole number`,
		"--callers=10001":                 `invalid value "10001" for flag -callers: a whole number`,
		"--addr=:8080":                    "only an address of this machine itself is allowed",
		"--addr=0.0.0.0:8080":             "only an address of this machine itself is allowed",
		"--addr=192.0.2.1:8080":           "only an address of this machine itself is allowed",
		"--addr=example.org:80":           "only an address of this machine itself is allowed",
		"--addr=127.0.0.1":                "an address such as 127.0.0.1:8080 is allowed",
		"--addr=127.0.0.1:70000":          "a port from 0 to 65535 is allowed",
		"--addr=" + taken.Addr().String(): "address already in use",
		"--for=0s":                        "a duration of more than 0",
		"--for=soon":                      "a duration of more than 0",
		"--users=7":                       "flag provided but not defined: -users",
		"7":                               `unexpected argument "7"`,
	} {
		p, temporary := program(t, "--for=1ms", args) // what is accepted by mistake ends
		var out, complaints bytes.Buffer
		p.Stdout, p.Stderr = &out, &complaints
		var exit *exec.ExitError
		require.ErrorAs(t, p.Run(), &exit, args)
		assert.Equal(t, 2, exit.ExitCode(), args)
		assert.Contains(t, complaints.String(), says)
		assert.Equal(t, 1, strings.Count(complaints.String(), "\n"), args)
		assert.Empty(t, out.String())
		requireEmpty(t, temporary)
	}
}

func TestWithoutAFolderItEndsInOneLine(t *testing.T) {
	p, temporary := program(t, "--addr=127.0.0.1:0", "--for=1ms")
	require.NoError(t, os.Remove(temporary))
	complaints, err := p.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	assert.Equal(t, 2, exit.ExitCode())
	assert.Regexp(t, `^dashboard: [^\n]*: no such file or directory\n$`, string(complaints))
}

func TestHelpNamesTheFlags(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, start(context.Background(), []string{"--help"}, &out))
	for _, flag := range []string{"-addr", "-callers", "-for"} {
		assert.Contains(t, out.String(), flag)
	}
}
