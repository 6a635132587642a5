//go:build integration

// Command bench measures log shippers and metrics agents as whole processes, side by side on one machine: CPU seconds (user and system, of
// the process alone), lines or samples a second, peak resident memory, and whether every line arrived at a sink that decodes and counts.
//
//	bench generate -lines N [-format plain|docker] FILE   writes lines of about 200 bytes
//	bench sink [-listen ADDRESS]                          counts what is pushed; GET /counts tells
//	bench run [flags]                                     runs the cases for Hermod and for every peer whose binary is given: a file of
//	                                                      plain lines, one of Docker's json-file driver, and the machine's own metrics
//	bench drain [flags]                                   how fast a backlog on disk is sent when its backend is back, and in what memory
//	bench rest [flags]                                    what Hermod costs at rest
//
// The sink and the generator are processes of their own, so their cost isn't part of what is measured.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 {
		usage()
	}
	var err error
	switch args := os.Args[2:]; os.Args[1] {
	case "generate":
		err = generateCommand(args)
	case "sink":
		err = sinkCommand(ctx, args)
	case "run":
		err = runCommand(ctx, args)
	case "drain":
		err = drainCommand(ctx, args)
	case "rest":
		err = restCommand(ctx, args)
	default:
		usage()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: bench generate|sink|run|drain|rest [flags]; see the package comment")
	os.Exit(2)
}

func generateCommand(args []string) error {
	flags := flag.NewFlagSet("generate", flag.ExitOnError)
	lines := flags.Int("lines", 1_000_000, "how many")
	format := flags.String("format", "plain", "plain, or docker (the json-file log driver's)")
	_ = flags.Parse(args) // ExitOnError
	if flags.NArg() != 1 {
		return fmt.Errorf("generate takes the name of one file")
	}
	return generate(flags.Arg(0), *lines, *format)
}

func sinkCommand(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("sink", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address")
	_ = flags.Parse(args) // ExitOnError
	return serveSink(ctx, *listen)
}
