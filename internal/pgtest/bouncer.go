package pgtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// BouncerPool is the number of connections to the server that a Bouncer has for each database: few, so that different clients
// meet on them. In session mode each client needs one, and there are bouncerSessions.
const (
	BouncerPool     = 3
	bouncerSessions = 60
)

// Bouncer starts pgbouncer before a server, for one test, and returns the option that leads a client to it. mode is pgbouncer's pool_mode:
// session, transaction or statement. Its clients need no password. Where pgbouncer is not installed, the test is skipped, or
// fails with CI=true.
func Bouncer(t TB, s *Server, mode string) DSNOption {
	t.Helper()
	program, err := findBouncer()
	if err != nil {
		refuse(t, err)
	}
	account, err := serverAccount()
	if err != nil {
		t.Fatalf("%v", err)
	}
	dir, err := makeFolder("", account)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	port, err := freePort()
	if err != nil {
		t.Fatalf("%v", err)
	}
	config, log := filepath.Join(dir, "pgbouncer.ini"), filepath.Join(dir, "log")
	if err := os.WriteFile(config, []byte(bouncerConfig(s.address, mode, port, log)), 0o644); err != nil {
		t.Fatalf("%v", err)
	}
	// The shell stops it when its input ends, which happens also if the tests are killed.
	cmd := exec.Command("sh", "-c", `"$0" -q "$1" & p=$!; read end; kill $p; wait $p`, program, config)
	cmd.Dir = dir
	account.apply(cmd)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatalf("%v", err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("pgtest: pgbouncer: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			said, _ := os.ReadFile(log)
			t.Logf("the log of pgbouncer ends:\n%s", said[max(0, len(said)-4000):])
		}
		input.Close()
		cmd.Wait()
	})
	addr := net.JoinHostPort(loopback, strconv.Itoa(port))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return Via(addr)
		}
		if time.Now().After(end) {
			said, _ := os.ReadFile(log)
			t.Fatalf("pgtest: pgbouncer does not answer on %s after 10 seconds:\n%s", addr, said)
		}
	}
}

func bouncerConfig(a address, mode string, port int, log string) string {
	word := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	server := "host=" + word(a.host) + " port=" + a.port + " user=" + word(a.user)
	if a.password != "" {
		server += " password=" + word(a.password)
	}
	size := BouncerPool
	if mode == "session" {
		size = bouncerSessions
	}
	return fmt.Sprintf(`[databases]
* = %s
[pgbouncer]
listen_addr = %s
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = %s
default_pool_size = %d
max_client_conn = 500
ignore_startup_parameters = extra_float_digits
logfile = %s
`, server, loopback, port, mode, size, log)
}

// errNoBouncer matches ErrNotInstalled: the test is skipped for the same reason.
var errNoBouncer = noBouncer{}

type noBouncer struct{}

func (noBouncer) Error() string        { return "pgtest: no pgbouncer found" }
func (noBouncer) Is(target error) bool { return target == ErrNotInstalled }

func findBouncer() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer", "/usr/local/sbin/pgbouncer"} { // sbin is not in every PATH
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: pgbouncer is needed (Debian, Ubuntu: apt-get install pgbouncer; Fedora: dnf install pgbouncer; macOS: brew install pgbouncer)", errNoBouncer)
}
