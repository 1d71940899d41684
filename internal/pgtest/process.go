package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Mode says how a server is stopped, in the words of pg_ctl.
type Mode string

const (
	Smart     Mode = "smart"     // waits for the clients to go
	Fast      Mode = "fast"      // aborts transactions, closes connections, writes a checkpoint
	Immediate Mode = "immediate" // stops without a checkpoint: the next start recovers from the log, as after a crash
)

// patience bounds every wait for a server to start or to stop.
const patience = 60 * time.Second

const loopback = "127.0.0.1"

// postmaster is a running server. done is closed when the process has ended and was waited for.
type postmaster struct {
	*os.Process
	done chan struct{}
}

// Start starts the server again, after Stop or Kill, at the same address and with the same data; after Immediate and
// Kill that includes recovery. It returns when the server takes connections. On a server that runs it does nothing.
func (s *Server) Start() error {
	if s.External() {
		return ErrExternal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running() {
		return nil
	}
	return s.launch()
}

// Restart is Stop and Start.
func (s *Server) Restart(mode Mode) error {
	if err := s.Stop(mode); err != nil {
		return err
	}
	return s.Start()
}

// Stop stops the server and returns when its processes are gone. After a minute it gives up with an error, which is
// how Smart ends while clients stay. On a server that does not run it does nothing.
func (s *Server) Stop(mode Mode) error {
	if s.External() {
		return ErrExternal
	}
	signal, ok := map[Mode]os.Signal{Smart: syscall.SIGTERM, Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT}[mode]
	if !ok {
		return fmt.Errorf("pgtest: no such stop mode: %q", mode)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		return nil
	}
	if err := s.proc.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return s.gone()
}

// Kill ends the server and all its processes with SIGKILL, as the kernel's out-of-memory killer would. Data that was
// written to the operating system stays; Start recovers. On a server that does not run it does nothing.
//
// The postmaster is stopped first, so that it neither starts nor warns a process in the meantime.
func (s *Server) Kill() error {
	if s.External() {
		return ErrExternal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running() {
		return nil
	}
	if err := killTree(s.proc.Pid); err != nil {
		return err
	}
	return s.gone()
}

// Running reports whether the server's process is there. It is true of every external server.
func (s *Server) Running() bool {
	if s.External() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running()
}

// running requires mu.
func (s *Server) running() bool {
	if s.proc == nil {
		return false
	}
	select {
	case <-s.proc.done:
		return false
	default:
		return true
	}
}

// gone waits for the process to end. It requires mu.
func (s *Server) gone() error {
	select {
	case <-s.proc.done:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("pgtest: the server did not stop within %v; its log ends:\n%s", patience, s.Log())
	}
}

// startOn starts a server that has no port yet, on one that port gives. Another process may take the port before the
// server does, so startOn tries a few.
func (s *Server) startOn(port func() (int, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for tries := 10; ; tries-- {
		n, err := port()
		if err != nil {
			return err
		}
		s.address.port = strconv.Itoa(n)
		if err := s.launch(); err == nil || tries == 1 || !errors.Is(err, errPortTaken) {
			return err
		}
	}
}

// freePort finds a port below those that the system gives to clients (from 32768 on Linux, from 49152 elsewhere).
// Above, a client that dials the stopped server again and again can be given the server's own port: it then takes the
// port away, or is connected to itself.
func freePort() (int, error) {
	var err error
	for range 100 {
		port := 16000 + rand.IntN(16000)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("pgtest: no free port: %w", err)
}

var errPortTaken = errors.New("pgtest: somebody else has the port")

// launch starts the process and waits until it takes connections. It requires mu and that the server does not run.
func (s *Server) launch() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	earlier, err := log.Stat()
	if err != nil {
		return err
	}
	cmd := s.command("postgres", "-D", s.data(), "-p", s.address.port)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	proc := &postmaster{cmd.Process, make(chan struct{})}
	go func() {
		cmd.Wait() // how it ended is in the log
		close(proc.done)
	}()
	s.proc = proc

	deadline := time.After(patience)
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for !s.ready(proc.Pid) {
		select {
		case <-poll.C:
		case <-proc.done:
			said := make([]byte, 1<<20)
			n, _ := log.ReadAt(said, earlier.Size())
			if bytes.Contains(said[:n], []byte("could not create any TCP/IP sockets")) {
				return errPortTaken
			}
			return fmt.Errorf("pgtest: the server ended while it started; its log:\n%s", said[:n])
		case <-deadline:
			return fmt.Errorf("pgtest: the server was not ready within %v; its log ends:\n%s", patience, s.Log())
		}
	}
	return nil
}

// ready reads what pg_ctl reads too: the server writes its state into the eighth line of postmaster.pid. An earlier
// server that was killed may have left the file.
func (s *Server) ready(pid int) bool {
	b, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	lines := strings.Split(string(b), "\n")
	return err == nil && len(lines) >= 8 && lines[0] == strconv.Itoa(pid) && strings.TrimSpace(lines[7]) == "ready"
}

// command prepares one of PostgreSQL's programs to run as the server's user, in its folder, away from the terminal's
// signals and from the environment's settings for other servers and for languages.
func (s *Server) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "PG") && !strings.HasPrefix(entry, "LC_") && !strings.HasPrefix(entry, "LANG") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C")
	s.account.apply(cmd)
	return cmd
}

// run runs one of PostgreSQL's programs to its end; the error holds its output.
func (s *Server) run(program string, args ...string) error {
	if out, err := s.command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("pgtest: %s: %w\n%s", program, err, out)
	}
	return nil
}
