package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A way leads to a server as a network does that is so far: it passes on what the client sends at once and holds each
// answer back for a whole round trip. A client cannot tell that from half of it in each direction, and there are half as
// many timers.
//
// The pieces of a connection's answers wait beside each other: each is due a round trip after it came, and all that are due
// go out by one write. So the delay bounds no connection's rate, and connections share nothing but the processor.
type way struct {
	network, to string       // the server's address
	trip        atomic.Int64 // a time.Duration, of the pieces that come from here on
	listener    net.Listener
	folder      string // of the listener's socket; "" for TCP
	all         sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

// newWay opens a way to a server. It listens on the server's own kind of network: unix, which costs the least, or tcp.
func newWay(network, to string, trip time.Duration) (w *way, err error) {
	w = &way{network: network, to: to, open: map[net.Conn]bool{}}
	at := "127.0.0.1:0"
	if network == "unix" {
		parent := os.TempDir()
		if len(parent) > 60 { // no room for a socket's path
			parent = "/tmp"
		}
		if w.folder, err = os.MkdirTemp(parent, "way"); err != nil {
			return nil, err
		}
		at = filepath.Join(w.folder, filepath.Base(to)) // the name tells clients the port
	}
	if w.listener, err = net.Listen(network, at); err != nil {
		return nil, errors.Join(err, os.RemoveAll(w.folder))
	}
	w.far(trip)
	w.all.Go(w.accept)
	return w, nil
}

// address is where clients connect.
func (w *way) address() string { return w.listener.Addr().String() }

// far changes the round trip, also of connections that are open. No piece overtakes another.
func (w *way) far(trip time.Duration) { w.trip.Store(int64(trip)) }

// close cuts every connection and returns when nothing is left of them.
func (w *way) close() error {
	err := w.listener.Close()
	w.mu.Lock()
	w.closed = true
	for c := range w.open {
		c.Close()
	}
	w.mu.Unlock()
	w.all.Wait()
	if w.folder != "" {
		err = errors.Join(err, os.RemoveAll(w.folder))
	}
	return err
}

func (w *way) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.all.Go(func() { w.lead(client) })
	}
}

// lead serves one connection until both ends have closed it.
func (w *way) lead(client net.Conn) {
	defer client.Close()
	server, err := net.Dial(w.network, w.to)
	if err != nil {
		return
	}
	defer server.Close()
	if !w.keep(client, server) {
		return
	}
	defer w.forget(client, server)
	w.all.Go(func() {
		io.Copy(server, client)
		if half, ok := server.(interface{ CloseWrite() error }); ok { // answers that are under way still arrive
			half.CloseWrite()
		}
	})
	w.back(client, server)
}

// back carries the server's answers.
func (w *way) back(client io.Writer, server io.ReadCloser) {
	late := make(chan piece, 1024)
	var held atomic.Int64 // pieces that came and are not yet written
	w.all.Go(func() {
		defer close(late)
		b := make([]byte, 32<<10)
		for {
			n, err := server.Read(b)
			trip := time.Duration(w.trip.Load())
			switch {
			case n == 0:
			case trip == 0 && held.Load() == 0: // nothing to wait for, and nothing to overtake
				if _, err := client.Write(b[:n]); err != nil {
					server.Close()
					return
				}
			default:
				held.Add(1)
				late <- piece{slices.Clone(b[:n]), time.Now().Add(trip)}
			}
			if err != nil {
				return
			}
		}
	})
	for next := (*piece)(nil); ; {
		if next == nil {
			p, ok := <-late
			if !ok {
				return
			}
			next = &p
		}
		time.Sleep(time.Until(next.due))
		var due net.Buffers
		due, next = gather(late, *next)
		n := int64(len(due))
		if _, err := due.WriteTo(client); err != nil {
			server.Close() // ends the reading
			for range late {
			}
			return
		}
		held.Add(-n)
	}
}

// A piece is a part of the answers as it was read.
type piece struct {
	bytes []byte
	due   time.Time
}

// gather returns first and all pieces behind it that are due, and the piece that came behind these, if one did.
func gather(late <-chan piece, first piece) (due net.Buffers, next *piece) {
	due = net.Buffers{first.bytes}
	now := time.Now()
	for {
		select {
		case p, ok := <-late:
			if !ok {
				return due, nil
			}
			if p.due.After(now) {
				return due, &p
			}
			due = append(due, p.bytes)
		default:
			return due, nil
		}
	}
}

// keep has close find the connections; it refuses them after close.
func (w *way) keep(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	for _, c := range conns {
		w.open[c] = true
	}
	return true
}

func (w *way) forget(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		delete(w.open, c)
	}
}
