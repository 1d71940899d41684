package virtual

import (
	"context"
	"database/sql/driver"

	"github.com/groupcommit/groupcommit/internal/sqltext"
)

// Raw returns the wrapped driver's connection and ties it to c for life; nil if none can be had. It is for code that
// looks inside wrappers; a program calls the function Raw of package groupcommit.
func (c *Conn) Raw() driver.Conn {
	raw, err := c.raw(context.Background())
	if err != nil {
		return nil
	}
	return raw
}

// WithRaw calls f with the wrapped driver's connection, which is tied to c for life. What f commits is as durable as what a
// statement of c's would commit.
func (c *Conn) WithRaw(ctx context.Context, f func(driver.Conn) error) error {
	raw, err := c.raw(ctx)
	if err != nil {
		return err
	}
	err = c.lendRaw(raw, f)
	return c.settle(err)
}

func (c *Conn) lendRaw(raw driver.Conn, f func(driver.Conn) error) error {
	defer c.after(nil) // also after a panic
	if err := c.defers(true); err != nil {
		return err
	}
	c.held.dirty = true
	return f(raw)
}

func (c *Conn) raw(ctx context.Context) (driver.Conn, error) {
	traits, err := c.host.Ready(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.use(ctx, traits, &sqltext.Text{}); err != nil {
		return nil, err
	}
	if err := c.beginNow(ctx); err != nil {
		c.after(nil)
		return nil, c.met(err)
	}
	c.Count() // a setting is not all that c is used for
	if !traits.OneConn {
		c.bound = true
	}
	return c.held.Conn.Raw, nil
}
