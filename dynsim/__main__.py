from dynsim.cli import main

main()
