// Command v1 is Sigstore's Rekor, version 1, as it is, in front of Trillian with its log in memory: a real Rekor that
// needs no database and forgets everything at its end.
//
//	v1 PORT NAME KEY_PEM        serve on 127.0.0.1:PORT as log NAME, signing with the key in KEY_PEM
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/extension"
	"github.com/google/trillian/log"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/server"
	"github.com/google/trillian/server/admin"
	"github.com/google/trillian/server/interceptor"
	"github.com/google/trillian/storage/memory"
	"github.com/google/trillian/util/clock"
	"github.com/sigstore/rekor/cmd/rekor-server/app"
	"google.golang.org/grpc"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: v1 PORT NAME KEY_PEM")
		os.Exit(2)
	}
	// Rekor opens this port on every interface, for metrics, and goes on without it. Held here, it cannot.
	if held, err := net.Listen("tcp", "127.0.0.1:2112"); err == nil {
		defer held.Close()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "v1:", err)
		os.Exit(1)
	}
	go serveTrillian(listener)
	os.Args = []string{
		"rekor-server", "serve",
		"--port", os.Args[1],
		"--rekor_server.hostname", os.Args[2],
		"--rekor_server.signer", os.Args[3],
		"--trillian_log_server.port", fmt.Sprint(listener.Addr().(*net.TCPAddr).Port),
		"--enable_retrieve_api=false",
		"--enabled_api_endpoints", "createLogEntry,getLogEntryByUUID,getLogEntryByIndex,getPublicKey,getLogInfo",
	}
	app.Execute()
}

func serveTrillian(listener net.Listener) {
	trees := memory.NewTreeStorage()
	registry := extension.Registry{
		AdminStorage: memory.NewAdminStorage(trees),
		LogStorage:   memory.NewLogStorage(trees, nil),
		QuotaManager: quota.Noop(),
	}
	rpc := grpc.NewServer(grpc.UnaryInterceptor(interceptor.ErrorWrapper))
	trillian.RegisterTrillianAdminServer(rpc, admin.New(registry, nil))
	trillian.RegisterTrillianLogServer(rpc, server.NewTrillianLogRPCServer(registry, clock.System))
	info := log.OperationInfo{
		Registry: registry, BatchSize: 64, NumWorkers: 1, RunInterval: 50 * time.Millisecond, TimeSource: clock.System,
	}
	go log.NewOperationManager(info, log.NewSequencerManager(registry, 0)).OperationLoop(context.Background())
	if err := rpc.Serve(listener); err != nil {
		fmt.Fprintln(os.Stderr, "v1: trillian:", err)
		os.Exit(1)
	}
}
