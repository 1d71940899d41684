package command

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/groupcommit/groupcommit/durable"
	"github.com/groupcommit/groupcommit/internal/record"
)

// A command is what a program has handed in, whatever becomes of it.
type command struct {
	kind  *Kind
	typed Typed
	id    string
	key   durable.Key // what a command with an id is known by: a digest of its kind and value
}

// Typed is a command's own side: what only code that knows its types can do.
type Typed interface {
	// Param is the value, encoded.
	Param() ([]byte, error)
	// Reset forgets the result of an earlier attempt.
	Reset()
	// Result is the result.
	Result() any
	// Decoded is a result that was recorded.
	Decoded(data []byte) (any, error)
}

// Kind is what the command shares with others of its type.
func (c *command) Kind() *Kind { return c.kind }

// Typed is the command's own side.
func (c *command) Typed() Typed { return c.typed }

// ID is the command's id; "" if it has none.
func (c *command) ID() string { return c.id }

// describe gives a command with an id its key, and returns its value, encoded.
func (c *command) describe() (param []byte, err error) {
	name := c.kind.name
	if c.id == "" {
		return nil, fmt.Errorf("groupcommit: a command of kind %q has no id; one that is Durable needs an id of 1 to 255 bytes", name)
	}
	if err := c.kind.host.Keeps(c.id); err != nil {
		return nil, err
	}
	if param, err = c.typed.Param(); err != nil {
		return nil, err
	}
	known := make([]byte, 0, 128)
	known = append(known, 1, 'c') // the version of this encoding, and that it is of a command
	known = binary.AppendUvarint(known, uint64(len(name)))
	known = append(append(known, name...), param...)
	sum := sha256.Sum256(known)
	c.key = durable.Key(sum[:])
	return param, nil
}

// row is the command as the table knows it.
func (c *command) row() record.Row { return record.Row{ID: c.id, Key: c.key} }
