package record

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Outcome is what the value of a promise says of an Exec, or of a query with RETURNING, in JSON: a result, or what is left of an error. A program reads it,
// too: the root package's Lookup describes the form. What is zero is not written, bar a number that there is.
type Outcome struct {
	Rows, LastID       int64
	HasRows, HasLastID bool   // the driver has told
	Returned           []byte // a query's rows, in an encoding of package engine's; nil for an Exec
	Code, Message      string // of an error: the database's own code, if there is one
}

// maxMessage bounds what is recorded of an error's text, in bytes.
const maxMessage = 1 << 10

// Append appends the outcome's JSON to b. Of a longer message it writes the first KiB.
func (o Outcome) Append(b []byte) []byte {
	b = append(b, '{')
	if o.HasRows {
		b = strconv.AppendInt(member(b, "rows"), o.Rows, 10)
	}
	if o.HasLastID {
		b = strconv.AppendInt(member(b, "id"), o.LastID, 10)
	}
	if o.Returned != nil {
		b = append(base64.StdEncoding.AppendEncode(append(member(b, "returned"), '"'), o.Returned), '"')
	}
	if o.Code != "" {
		b = appendText(member(b, "code"), o.Code)
	}
	if m := bounded(o.Message); m != "" {
		b = appendText(member(b, "message"), m)
	}
	return append(b, '}')
}

// member begins another member of an object.
func member(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(append(append(b, '"'), name...), `":`...)
}

func appendText(b []byte, text string) []byte {
	j, _ := json.Marshal(text) // a string
	return append(b, j...)
}

// bounded is a message that can be read everywhere.
func bounded(message string) string {
	message = strings.ToValidUTF8(message, "\uFFFD")
	if len(message) <= maxMessage {
		return message
	}
	n := maxMessage
	for !utf8.RuneStart(message[n]) {
		n--
	}
	return message[:n]
}

// DecodeOutcome reads what Append has written.
func DecodeOutcome(value []byte) (o Outcome, err error) {
	var v struct {
		Rows, ID      *int64
		Returned      []byte
		Code, Message string
	}
	if err := json.Unmarshal(value, &v); err != nil {
		return o, err
	}
	o.Returned, o.Code, o.Message = v.Returned, v.Code, v.Message
	if v.Rows != nil {
		o.Rows, o.HasRows = *v.Rows, true
	}
	if v.ID != nil {
		o.LastID, o.HasLastID = *v.ID, true
	}
	return o, nil
}
