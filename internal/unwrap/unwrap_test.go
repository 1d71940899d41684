package unwrap_test

import (
	"context"
	"database/sql/driver"
	"testing"

	"github.com/groupcommit/groupcommit/internal/unwrap"
	"github.com/stretchr/testify/assert"
)

// conn is a driver's own connection.
type conn struct{ driver.Conn }

// methods are those of a connection but Begin, so that the struct that has them is one and methods are none.
type methods struct{}

func (methods) Prepare(string) (driver.Stmt, error) { return nil, nil }
func (methods) Close() error                        { return nil }

func (private) Begin() (driver.Tx, error)  { return nil, nil }
func (concrete) Begin() (driver.Tx, error) { return nil, nil }
func (deeper) Begin() (driver.Tx, error)   { return nil, nil }
func (loop) Begin() (driver.Tx, error)     { return nil, nil }
func (*hooked) Begin() (driver.Tx, error)  { return nil, nil }

type (
	embedded struct{ driver.Conn }
	private  struct {
		methods
		_    []string // which makes the wrapper one that cannot be compared
		conn driver.Conn
	}
	concrete struct {
		methods
		c *conn
	}
	inPlace struct{ conn }
	deeper  struct {
		methods
		*state
	}
	state struct {
		_    string
		conn driver.Conn
	}
	two struct {
		driver.Conn
		other driver.Conn
	}
	opaque struct {
		driver.Conn
		open func() driver.Conn
	}
	telling struct {
		driver.Conn
		inner driver.Conn
	}
	unwrapping struct{ telling }
	own        struct{ driver.Conn }
	loop       struct {
		methods
		*loop
	}
)

func (w telling) Raw() driver.Conn { return w.inner }
func (w *own) Raw() driver.Conn    { return w }

type unwrapper struct{ opaque }

func (w unwrapper) Unwrap() driver.Conn { return w.open() }

type wrappedConn struct{ opaque }

func (w wrappedConn) WrappedConn() driver.Conn { return w.open() }

// The shape of sqlhooks' connections: each part is a connection, and all are one.
type (
	hooked struct {
		methods
		Conn driver.Conn
	}
	execer   struct{ *hooked }
	queryer  struct{ *hooked }
	composed struct {
		*hooked
		*execer
		*queryer
	}
)

func find(c driver.Conn) (*conn, bool) {
	found, ok := unwrap.Find(c, func(c driver.Conn) bool { _, ok := c.(*conn); return ok })
	own, _ := found.(*conn)
	return own, ok
}

func TestAConnectionIsFoundInWrappersOfEveryShape(t *testing.T) {
	raw := &conn{}
	open := func() driver.Conn { return raw }
	h := &hooked{Conn: raw}
	in := &inPlace{}
	var none *conn
	for name, w := range map[string]driver.Conn{
		"none at all":              raw,
		"an embedded interface":    embedded{raw},
		"by pointer":               &embedded{raw},
		"three of them":            embedded{&embedded{embedded{raw}}},
		"a private field":          private{conn: raw},
		"a field of the type":      concrete{c: raw},
		"a struct that is no conn": deeper{state: &state{conn: raw}},
		"Raw":                      telling{&other{}, raw},
		"Raw, promoted":            &unwrapping{telling{&other{}, raw}},
		"Unwrap":                   unwrapper{opaque{nil, open}},
		"WrappedConn":              wrappedConn{opaque{nil, open}},
		"the shape of sqlhooks":    &composed{h, &execer{h}, &queryer{h}},
		"twice the same":           two{raw, raw},
		"beside one that is nil":   two{raw, none},
	} {
		got, ok := find(w)
		assert.True(t, ok, name)
		assert.Same(t, raw, got, name)
	}
	got, ok := find(in)
	assert.True(t, ok, "within the wrapper itself")
	assert.Same(t, &in.conn, got)
}

// other is another driver's connection.
type other struct{ driver.Conn }

func TestNothingIsFoundWhereItIsNotCertainWhatAStatementGoesTo(t *testing.T) {
	raw := &conn{}
	self := &own{}
	self.Conn = raw
	circle := &embedded{}
	circle.Conn = &embedded{circle}
	var none *embedded
	for name, w := range map[string]driver.Conn{
		"nil":                         nil,
		"a nil pointer":               none,
		"a wrapper around nil":        embedded{},
		"a driver's own":              &other{},
		"two connections":             two{raw, &conn{}},
		"one of them another's":       two{raw, &other{}},
		"a function":                  opaque{nil, func() driver.Conn { return raw }},
		"Raw that says another thing": telling{raw, &other{}},
		"Raw that says nothing":       telling{raw, nil},
		"a wrapper of itself":         self,
		"a circle":                    circle,
		"a struct that embeds itself": looped(),
	} {
		_, ok := find(w)
		assert.False(t, ok, name)
	}
}

func looped() loop {
	l := &loop{}
	l.loop = l
	return *l
}

type plainDriver struct{}

func (plainDriver) Open(string) (driver.Conn, error) { return nil, nil }

type (
	wrappedDriver struct{ parent driver.Driver }
	hidden        struct{ _ func() driver.Driver }
	connector     struct {
		inner driver.Connector
		d     driver.Driver
	}
)

func (wrappedDriver) Open(string) (driver.Conn, error)         { return nil, nil }
func (hidden) Open(string) (driver.Conn, error)                { return nil, nil }
func (connector) Connect(context.Context) (driver.Conn, error) { return nil, nil }
func (c connector) Driver() driver.Driver                      { return c.d }

func TestADriverIsFoundInItsConnectorOrInOneInsideThat(t *testing.T) {
	is := func(d driver.Driver) bool { return d == plainDriver{} }
	for name, c := range map[string]driver.Connector{
		"its own":      connector{nil, plainDriver{}},
		"a wrapper's":  connector{nil, &wrappedDriver{wrappedDriver{plainDriver{}}}},
		"of one below": connector{connector{nil, plainDriver{}}, hidden{}},
	} {
		_, ok := unwrap.Driver(c, is)
		assert.True(t, ok, name)
	}
	for name, c := range map[string]driver.Connector{"nil": nil, "no driver": connector{}, "a hidden one": connector{nil, hidden{}}} {
		_, ok := unwrap.Driver(c, is)
		assert.False(t, ok, name)
	}
}
