package applog

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/stretchr/testify/require"
)

func TestALineIsWrittenToTheLoggerOfItsTime(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	Write(slog.LevelWarn, "a line", "why", "because")
	Write(slog.LevelDebug, "another")
	slog.SetDefault(before)
	Wait()
	require.Regexp(t, `^time=\S+ level=WARN msg="a line" why=because\n$`, log.String())
}

// A handler is what slog calls.
type handler func()

func (h handler) Enabled(context.Context, slog.Level) bool { return true }
func (h handler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h handler) WithGroup(string) slog.Handler            { return h }
func (h handler) Handle(context.Context, slog.Record) error {
	h()
	return nil
}

func TestAHandlerThatWaitsOrPanicsHoldsNobody(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	free := make(chan struct{})
	slog.SetDefault(slog.New(handler(func() { <-free })))
	bounded.Wait(t, "the line is handed over", func() { Write(slog.LevelInfo, "a line") })
	close(free)
	slog.SetDefault(slog.New(handler(func() { panic("no room") })))
	Write(slog.LevelInfo, "a line")
	bounded.Wait(t, "all lines are over", Wait)
}
