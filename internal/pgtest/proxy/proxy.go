package proxy

import (
	"net"
	"path/filepath"
	"strings"
	"sync"
)

// A Proxy passes connections on to one server. Its methods may be called at any time, by several goroutines.
type Proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup // the goroutine that accepts, and two for each connection

	mu       sync.Mutex
	closed   bool
	refuse   bool
	accepted int
	conns    map[*conn]struct{}
	onClient func(Message) Action // nil: pass
	onServer func(Message) Action

	ask sync.Mutex // held while one of the two functions runs, so that they may keep state without a lock
}

// New listens on a free port of 127.0.0.1 and passes connections on to target: host:port, or the path of a unix socket.
func New(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, target: target, conns: map[*conn]struct{}{}}
	p.running.Go(p.accept)
	return p, nil
}

// Addr is where clients connect to: 127.0.0.1:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// OnClient has f decide on every message from a client that comes from now on; nil passes all. Calls of f and of
// OnServer's function run one at a time. f may call the proxy's methods except Close; it must not block: Delay is for
// that.
func (p *Proxy) OnClient(f func(Message) Action) { p.on(&p.onClient, f) }

// OnServer has f decide on every message from the server that comes from now on; nil passes all.
func (p *Proxy) OnServer(f func(Message) Action) { p.on(&p.onServer, f) }

func (p *Proxy) on(which *func(Message) Action, f func(Message) Action) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*which = f
}

func (p *Proxy) decide(which *func(Message) Action, m Message) Action {
	p.mu.Lock()
	f := *which
	p.mu.Unlock()
	if f == nil {
		return Pass
	}
	p.ask.Lock()
	defer p.ask.Unlock()
	return f(m)
}

// CutAll closes every connection there is, on both sides. New ones are welcome: see Refuse.
func (p *Proxy) CutAll() {
	for _, c := range p.all() {
		c.cut()
	}
}

// Refuse has the proxy close new connections at once, or, with false, accept them again: a server that is down.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// Conns is the number of connections that are open.
func (p *Proxy) Conns() int { return len(p.all()) }

// Close closes the listener and every connection, and returns when nothing of the proxy runs any more. It may be
// called again.
func (p *Proxy) Close() error {
	p.mu.Lock()
	again := p.closed
	p.closed = true
	p.mu.Unlock()
	var err error
	if !again {
		err = p.listener.Close()
	}
	p.CutAll()
	p.running.Wait()
	return err
}

func (p *Proxy) all() []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*conn, 0, len(p.conns))
	for c := range p.conns {
		all = append(all, c)
	}
	return all
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

// serve connects a client to the server. A server that cannot be reached is a connection that closes.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	network := "tcp"
	if filepath.IsAbs(p.target) || strings.HasPrefix(p.target, ".") {
		network = "unix"
	}
	if p.refuses() {
		return
	}
	server, err := net.Dial(network, p.target)
	if err != nil {
		return
	}
	defer server.Close()
	if c := p.register(client, server); c != nil {
		c.run()
		p.mu.Lock()
		delete(p.conns, c)
		p.mu.Unlock()
	}
}

func (p *Proxy) refuses() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refuse || p.closed
}

// register returns nil if the proxy was closed in the meantime.
func (p *Proxy) register(client, server net.Conn) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse || p.closed {
		return nil
	}
	p.accepted++
	c := &conn{proxy: p, number: p.accepted, client: client, server: server, gone: make(chan struct{})}
	p.conns[c] = struct{}{}
	return c
}

// isLost reports whether the key of a CancelRequest is that of a connection that CutAfterForward has ended.
func (p *Proxy) isLost(key []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if c.key == string(key) && c.lost.Load() {
			return true
		}
	}
	return false
}
