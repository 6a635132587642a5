package main

import (
	"io"
	"log/slog"
	"strings"

	"github.com/hermod-agent/hermod/pipeline/config"
)

// newLog makes the agent's own log. level can be changed later.
func newLog(w io.Writer, format string, level *slog.LevelVar) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// logLevel is the level that a config asks for.
func logLevel(a *config.Agent) slog.Level {
	switch strings.ToLower(a.LogLevel) {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}
