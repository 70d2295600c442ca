from policyrank.cli import main

main()
