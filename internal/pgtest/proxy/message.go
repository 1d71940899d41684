package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
)

// A Message is one message of the frontend/backend protocol
// (https://www.postgresql.org/docs/current/protocol-message-formats.html).
type Message struct {
	Conn    int    // the number of the connection, from 1 in the order of Accept
	Type    byte   // 'Q', 'P', 'C' …; 0 for those without a type: StartupMessage and CancelRequest
	Payload []byte // behind type and length; valid only while the function that gets it runs, which may change the bytes

	// Of the client's messages only:

	SQL      string // the text that a Query, Parse, Bind or Execute is about, also by the name of a prepared statement
	Commit   bool   // it ends a transaction block: a Query or Execute of COMMIT or END; the server commits on getting it
	Pipeline int    // how many Query and Sync messages the connection has sent, this one included
}

// Tag is the command tag of a CommandComplete message from the server, such as "INSERT 0 1" or "COMMIT"; else "".
func (m Message) Tag() string {
	if m.Type != 'C' {
		return ""
	}
	return string(bytes.TrimSuffix(m.Payload, []byte{0}))
}

// Cancel reports whether the message is a CancelRequest, which a client sends on a new connection.
func (m Message) Cancel() bool {
	return m.Type == 0 && frame{body: m.Payload}.code() == cancelRequest
}

// Codes that stand in a message without a type where StartupMessage has its protocol version.
const (
	sslRequest    = 80877103
	gssRequest    = 80877104
	cancelRequest = 80877102
)

// frame is a message as it came: raw is all of it, body the part behind type and length.
type frame struct {
	kind byte
	raw  []byte
	body []byte
}

// code is the first number of a message without a type.
func (f frame) code() uint32 {
	if len(f.body) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(f.body)
}

// read reads the next message into buf, which it may grow.
func read(r *bufio.Reader, typed bool, buf *[]byte) (frame, error) {
	header := 4
	if typed {
		header = 5
	}
	head, err := r.Peek(header)
	if err != nil {
		return frame{}, err
	}
	length := int(binary.BigEndian.Uint32(head[header-4:]))
	if length < 4 || length > 1<<30 {
		return frame{}, fmt.Errorf("proxy: a message of %d bytes: this is not PostgreSQL's protocol", length)
	}
	total := header - 4 + length
	if cap(*buf) < total {
		*buf = make([]byte, total)
	}
	raw := (*buf)[:total]
	if _, err := io.ReadFull(r, raw); err != nil {
		return frame{}, err
	}
	f := frame{raw: raw, body: raw[header:]}
	if typed {
		f.kind = raw[0]
	}
	return f, nil
}

// texts follows the statements that a client's messages are about.
type texts struct {
	statements map[string]string // the text of each prepared statement, by name
	portals    map[string]string // the text of each portal, by name
	pipelines  int
}

func newTexts() *texts {
	return &texts{statements: map[string]string{}, portals: map[string]string{}}
}

// see returns the message that a frame of the client's is.
func (x *texts) see(f frame) Message {
	m := Message{Type: f.kind, Payload: f.body}
	switch f.kind {
	case 'Q':
		m.SQL, _ = word(f.body)
		m.Commit = commits(m.SQL)
		x.pipelines++
	case 'P':
		name, rest := word(f.body)
		m.SQL, _ = word(rest)
		x.statements[name] = m.SQL
	case 'B':
		portal, rest := word(f.body)
		name, _ := word(rest)
		m.SQL = x.statements[name]
		x.portals[portal] = m.SQL
	case 'E':
		portal, _ := word(f.body)
		m.SQL = x.portals[portal]
		m.Commit = commits(m.SQL)
	case 'S':
		x.pipelines++
	}
	m.Pipeline = x.pipelines
	return m
}

// word splits the string that ends with a zero byte off b.
func word(b []byte) (string, []byte) {
	s, rest, _ := bytes.Cut(b, []byte{0})
	return string(s), rest
}

// commits reports whether the last statement of a text is COMMIT or END, without regard to comments.
func commits(text string) bool {
	text = strings.TrimRight(text, "; \t\r\n")
	text = text[strings.LastIndexByte(text, ';')+1:]
	words := strings.Fields(strings.ToLower(text))
	return len(words) > 0 && (words[0] == "commit" || words[0] == "end") &&
		!(len(words) > 1 && words[1] == "prepared")
}
