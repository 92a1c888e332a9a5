// The engine that enforces NetworkPolicies in a lab: kube-network-policies, for one node.
//
// It judges the packets that iptables puts into NFQUEUE 100 (tests/lab/network.py). The rules that it would make
// itself need nftables' queue, which some kernels lack; that it could not is logged, and does no harm.
//
// usage: policies KUBECONFIG NODE
package main

import (
	"context"
	"log"
	"os"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

func main() {
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	watched := informers.NewSharedInformerFactory(client, 0)
	engine, err := networkpolicy.NewController(
		client,
		watched.Networking().V1().NetworkPolicies(),
		watched.Core().V1().Namespaces(),
		watched.Core().V1().Pods(),
		nil, nil, nil, nil,
		networkpolicy.Config{NodeName: os.Args[2], QueueID: 100, NRIdisabled: true},
	)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	watched.Start(ctx.Done())
	log.Fatal(engine.Run(ctx))
}
